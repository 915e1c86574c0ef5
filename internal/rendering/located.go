// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/coredns/caddy/caddyfile"

	"github.com/nodelocaldns/nodelocaldns/plugin/nodelocal"
)

// pluginError is how plugin.Error of CoreDNS begins a message.
var pluginError = regexp.MustCompile(`^plugin/(\S+): `)

// located puts FILE:LINE in front of an error of a plugin that does not say where
// its directive is: of the word that the message quotes, else of each directive
// of that name. An error of the node's network has no place in the Corefile.
func located(err error, c corefile) error {
	m := pluginError.FindStringSubmatch(err.Error())
	if m == nil || strings.Contains(err.Error(), c.path+":") || errors.As(err, new(nodelocal.NetworkError)) {
		return err
	}
	blocks, perr := caddyfile.Parse(c.path, bytes.NewReader(c.text), nil)
	if perr != nil {
		return err // of a Corefile that cannot be parsed, nothing better can be said
	}
	var quoting, all []string
	for _, b := range blocks {
		for _, t := range b.Tokens[m[1]] {
			at := position(c.path, t)
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
