// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/coredns/caddy/caddyfile"

	"github.com/nodelocaldns/nodelocaldns/plugin/keep/internal/store"
)

// maxConfigFile bounds the octets of a file that the hash covers.
const maxConfigFile = 1 << 20

// besides are directives that no answer depends on. Two versions of a Corefile may differ in them and share answers. Of the
// options of keep only bare_denial changes what is kept. A denial that was stored under another value is used until its lifetime
// ends, for 5 minutes at most.
var besides = []string{
	"bind", "debug", "errors", "fairshare", "health", "keep", "log", "loop", "nodelocal", "packetcache", "pprof", "prometheus", "ready", "reload",
}

// hashOf returns a hash of everything that the answers of a server block depend on. The hash covers the keys of the block, the
// directives that are not in besides, and the files that these directives name, such as resolv.conf or a zone. The order of the
// lines in a directive counts; the order of the directives does not. An answer is used only for a block with the same hash.
func hashOf(b caddyfile.ServerBlock) (sum [store.HashLen]byte) {
	h := sha256.New()
	fmt.Fprintf(h, "%d %q\n", store.Format, b.Keys)
	for _, name := range slices.Sorted(maps.Keys(b.Tokens)) {
		if slices.Contains(besides, name) {
			continue
		}
		tokens := b.Tokens[name]
		for i, t := range tokens {
			if i > 0 && (t.File != tokens[i-1].File || t.Line != tokens[i-1].Line) {
				fmt.Fprintln(h)
			}
			fmt.Fprintf(h, "%q ", t.Text)
			addFile(h, t.Text)
		}
		if name == "hosts" {
			addFile(h, "/etc/hosts") // its default
		}
		fmt.Fprintln(h)
	}
	copy(sum[:], h.Sum(nil))
	return sum
}

// addFile adds the content of a regular file to h.
func addFile(h hash.Hash, name string) {
	info, err := os.Stat(name)
	if err != nil || !info.Mode().IsRegular() {
		return // the word is not the name of a file
	}
	f, err := os.Open(name)
	if err != nil {
		return // the plugin that reads the file reports the error
	}
	defer f.Close()
	fmt.Fprintf(h, "%d:", info.Size())
	_, _ = io.Copy(h, io.LimitReader(f, maxConfigFile))
}
