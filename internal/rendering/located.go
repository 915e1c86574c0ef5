// SPDX-License-Identifier: Apache-2.0

package rendering

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/coredns/caddy/caddyfile"
)

// pluginError is how plugin.Error of CoreDNS begins a message.
var pluginError = regexp.MustCompile(`^plugin/(\S+): `)

// Located puts FILE:LINE in front of an error of a plugin that does not say where its directive is: of the word that the
// message quotes, else of each directive of that name.
func Located(err error, c Corefile) error {
	m := pluginError.FindStringSubmatch(err.Error())
	if m == nil || strings.Contains(err.Error(), c.Path+":") {
		return err
	}
	blocks, perr := caddyfile.Parse(c.Path, bytes.NewReader(c.Text), nil)
	if perr != nil {
		return err // of a Corefile that cannot be parsed, nothing better can be said
	}
	var quoting, all []string
	for _, b := range blocks {
		for _, t := range b.Tokens[m[1]] {
			at := position(c.Path, t)
			if t.Text == m[1] && !slices.Contains(all, at) {
				all = append(all, at)
			}
			if strings.Contains(err.Error(), fmt.Sprintf("%q", t.Text)) && !slices.Contains(quoting, at) {
				quoting = append(quoting, at)
			}
		}
	}
	if len(quoting) > 0 {
		all = quoting
	}
	if len(all) == 0 {
		return err
	}
	return fmt.Errorf("%s: %w", strings.Join(all, " or "), err)
}
