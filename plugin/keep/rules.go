// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"strconv"
	"strings"
	"time"

	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/dnsutil"

	"github.com/nodelocaldns/nodelocaldns/plugin/keep/internal/store"
)

// rules say how long the answers of a server block are used. They are the rules of the plugin cache in the block.
type rules struct {
	cached          bool // the block has the plugin cache
	success, denial limits
	successOff      []string // zones of "disable success"
	denialOff       []string
	keepTTL         bool // answers keep the TTL of the upstream
	stale           stale
	bareDenial      time.Duration // lifetime of denials without SOA; 0: such denials are not kept
}

// limits returns how long the store may use answers under these rules.
func (r *rules) limits() store.Limits {
	return store.Limits{
		Positive: r.success.most, Denial: max(r.denial.most, r.bareDenial), Stale: r.stale.upTo, PreferPositive: r.stale.preferPositive,
	}
}

// limits are the bounds of a lifetime.
type limits struct{ least, most time.Duration }

// stale holds the options serve_stale and serve_stale_policy.
type stale struct {
	mode           staleMode
	upTo           time.Duration // stale time, behind the lifetime; 0: stale answers are not sent
	timeout        time.Duration // of the upstream, in the mode staleVerify; 0: patience
	ttl            time.Duration // of stale answers
	recheck        time.Duration // time after a failure before the upstream is asked again
	preferPositive bool          // a stale positive answer counts more than a newer denial
}

// staleMode says when stale answers are sent, if they are sent at all.
type staleMode int

const (
	staleImmediate staleMode = iota // at once; the upstream is asked in the background
	staleVerify                     // after the upstream has failed, or has not answered within the timeout
)

// rulesOf reads the tokens of the directive cache in a server block, as coredns/plugin/cache/setup.go does. The plugin cache has
// refused wrong options. rulesOf ignores options that it does not know.
func rulesOf(tokens []caddyfile.Token) rules {
	r := rules{
		cached:  len(tokens) > 0,
		success: limits{0, dnsutil.MaximumDefaultTTL},
		denial:  limits{0, dnsutil.MaximumDefaultTTL / 2},
	}
	if !r.cached {
		return r
	}
	r.success.least, r.denial.least = dnsutil.MinimalDefaultTTL, dnsutil.MinimalDefaultTTL
	d := caddyfile.NewDispenserTokens("", tokens)
	for d.Next() {
		args := d.RemainingArgs()
		seconds(args, 0, &r.success.most)
		seconds(args, 0, &r.denial.most)
		for d.NextBlock() {
			r.option(d.Val(), d.RemainingArgs())
		}
	}
	return r
}

func (r *rules) option(name string, args []string) {
	switch name {
	case "success":
		seconds(args, 1, &r.success.most)
		seconds(args, 2, &r.success.least)
	case "denial":
		seconds(args, 1, &r.denial.most)
		seconds(args, 2, &r.denial.least)
	case "serve_stale":
		r.stale.set(args)
	case "serve_stale_policy":
		r.stale.preferPositive = len(args) > 0 && strings.EqualFold(args[0], "prefer_positive")
	case "keepttl":
		r.keepTTL = true
	case "disable":
		if len(args) > 0 && args[0] == "success" {
			r.successOff = zones(args[1:])
		} else if len(args) > 0 {
			r.denialOff = zones(args[1:])
		}
	}
}

// set reads serve_stale [DURATION [immediate [TTL [RECHECK]] | verify [TIMEOUT [TTL [RECHECK]]]]].
func (s *stale) set(args []string) {
	s.upTo = time.Hour
	duration(args, 0, &s.upTo)
	if len(args) > 1 && strings.EqualFold(args[1], "verify") {
		s.mode = staleVerify
		duration(args, 2, &s.timeout)
		args = args[1:]
	}
	duration(args, 2, &s.ttl)
	duration(args, 3, &s.recheck)
}

// seconds sets *to to argument i, if that is a number of seconds.
func seconds(args []string, i int, to *time.Duration) {
	if i < len(args) {
		if n, err := strconv.Atoi(args[i]); err == nil && n >= 0 {
			*to = time.Duration(n) * time.Second
		}
	}
}

// duration sets *to to argument i, if that is a duration.
func duration(args []string, i int, to *time.Duration) {
	if i < len(args) {
		if d, err := time.ParseDuration(args[i]); err == nil && d >= 0 {
			*to = d
		}
	}
}

// zones returns the zones in args, or the root if args is empty.
func zones(args []string) []string {
	if len(args) == 0 {
		return []string{"."}
	}
	for i, a := range args {
		args[i] = plugin.Name(a).Normalize()
	}
	return args
}
