// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/plugin/metrics"
)

// A blockInfo is what the plugin knows of one server block.
type blockInfo struct {
	safe       bool // the answers do not depend on the client
	rotates    bool // the block has loadbalance
	prometheus *metrics.Metrics
	cached     []string // the zones of the block's plugin cache; nil without it
}

// independent are the directives whose answers are the same for every client that asks the same question with the same flags.
var independent = []string{
	"any", "bind", "bufsize", "cache", "cancel", "debug", "errors", "fairshare", "file", "forward", "header", "health", "hedge", "hosts", "keep",
	"loadbalance", "local", "loop", "minimal", "nodelocal", "nsid", "packetcache", "pprof", "prometheus", "ready", "reload", "root", "searchpath",
	"timeouts", "tls",
}

// elsewhere are directives that concern a listener and not only their own server block. With one of them anywhere, no block is safe.
var elsewhere = []string{"view", "shed", "multisocket", "proxyproto", "tsig"}

// checkBlock returns why answers of b, one of blocks, must not be kept; "" if they may.
func checkBlock(b caddyfile.ServerBlock, blocks []caddyfile.ServerBlock) string {
	for _, other := range blocks {
		for _, name := range elsewhere {
			if _, ok := other.Tokens[name]; ok {
				return name + " chooses or limits by the client"
			}
		}
	}
	if reason := checkDirectives(b); reason != "" {
		return reason
	}
	asker := asksAgain(b)
	for _, other := range blocks {
		if _, marked := other.Tokens["packetcache"]; marked || asker == "" {
			continue // the other block marks the queries that come to the block
		}
		if reason := checkDirectives(other); reason != "" {
			return fmt.Sprintf("%s may ask the server block of %s, and there %s", asker, strings.Join(other.Keys, " "), reason)
		}
	}
	return ""
}

// checkDirectives returns why the directives of b alone forbid to keep its answers; "" if they do not.
func checkDirectives(b caddyfile.ServerBlock) string {
	for name, tokens := range b.Tokens {
		switch {
		case slices.Contains(independent, name):
		case name == "template":
			if word := unknownInTemplate(tokens); word != "" {
				return fmt.Sprintf("template with %s may answer each client differently", word)
			}
		case name == "rewrite":
			if contains(tokens, "edns0") {
				return "rewrite with edns0 may depend on the client"
			}
		default:
			return name + " may answer each client differently, or wants to see every query"
		}
	}
	return ""
}

// asksAgain returns the directive of b that asks the server, and so perhaps another block, for a name that the directive's answer
// points to; "" if there is none.
func asksAgain(b caddyfile.ServerBlock) string {
	for _, name := range []string{"file", "template"} {
		if _, ok := b.Tokens[name]; ok {
			return name
		}
	}
	if contains(b.Tokens["rewrite"], "cname") {
		return "rewrite"
	}
	return ""
}

var (
	// action is a part of a Go template that is computed.
	action = regexp.MustCompile(`(?s)\{\{.*?\}\}`)
	// field is what an action takes of the data that it is given; a dot or a dollar alone is all of it.
	field = regexp.MustCompile(`(?:^|[^\w)\]])(\.\w*|\$[^\w.])`)
	// ofQuestion are the data of template that follow from the question.
	ofQuestion = []string{".Zone", ".Name", ".Class", ".Type", ".Regex", ".Match", ".Group", ".Question"}
)

// unknownInTemplate returns what may tell clients apart: an expression, which can use the client's address, or other data than
// the question's.
func unknownInTemplate(tokens []caddyfile.Token) string {
	for _, t := range tokens {
		if t.Text == "var" || t.Text == "expr" {
			return t.Text
		}
		for _, a := range action.FindAllString(t.Text, -1) {
			for _, f := range field.FindAllStringSubmatch(a, -1) {
				if !slices.Contains(ofQuestion, f[1]) {
					return f[1]
				}
			}
		}
	}
	return ""
}

// contains reports whether word is a part of a token.
func contains(tokens []caddyfile.Token, word string) bool {
	return slices.ContainsFunc(tokens, func(t caddyfile.Token) bool { return strings.Contains(t.Text, word) })
}
