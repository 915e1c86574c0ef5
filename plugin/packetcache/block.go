// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/plugin/metrics"
)

// A block is what has to be known of one server block.
type block struct {
	safe       bool // its answers do not depend on the client
	rotates    bool // loadbalance is in it
	prometheus *metrics.Metrics
}

// independent are the directives whose answers are the same for every client
// that asks the same question with the same flags.
var independent = []string{
	"any", "bind", "bufsize", "cache", "cancel", "debug", "errors", "file", "forward", "header", "health", "hosts", "loadbalance",
	"local", "loop", "minimal", "nodelocal", "nsid", "packetcache", "pprof", "prometheus", "ready", "reload", "root", "timeouts", "tls",
}

// elsewhere are directives that concern a listener and not only their own
// server block: with one of them anywhere, no block is safe.
var elsewhere = []string{"view", "shed", "multisocket", "proxyproto"}

// checkBlock returns why answers of b, one of blocks, must not be kept; "" if they may.
func checkBlock(b caddyfile.ServerBlock, blocks []caddyfile.ServerBlock) string {
	for _, other := range blocks {
		for _, name := range elsewhere {
			if _, ok := other.Tokens[name]; ok {
				return name + " chooses or limits by the client"
			}
		}
	}
	for name, tokens := range b.Tokens {
		switch {
		case slices.Contains(independent, name):
		case name == "template":
			if word := contains(tokens, ".Remote", ".Meta", ".Message"); word != "" {
				return fmt.Sprintf("template with %s may answer each client differently", word)
			}
		case name == "rewrite":
			if word := contains(tokens, "edns0"); word != "" {
				return fmt.Sprintf("rewrite with %s may depend on the client", word)
			}
		default:
			return name + " may answer each client differently, or wants to see every query"
		}
	}
	return ""
}

// contains returns the first of words that is a part of a token.
func contains(tokens []caddyfile.Token, words ...string) string {
	for _, t := range tokens {
		for _, w := range words {
			if strings.Contains(t.Text, w) {
				return w
			}
		}
	}
	return ""
}

// serverBlocks reads the Corefile of the instance that is being set up, which is the latest.
func serverBlocks() ([]caddyfile.ServerBlock, error) {
	instances := caddy.Instances()
	if len(instances) == 0 {
		return nil, fmt.Errorf("no instance is being set up")
	}
	input := instances[len(instances)-1].Caddyfile()
	return caddyfile.Parse(input.Path(), bytes.NewReader(input.Body()), nil)
}
