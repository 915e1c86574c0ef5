// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"slices"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/plugin"

	"github.com/nodelocaldns/nodelocaldns/internal/serverblocks"
	"github.com/nodelocaldns/nodelocaldns/internal/status"
)

// A teller tells the command status of the upstreams of one configuration.
type teller struct {
	all      []told
	withdraw func()
}

// A told is a directive, and for how long its server block gives old answers.
type told struct {
	*Hedge
	zones []string
	stale time.Duration
}

type tellerKey struct{}

// register has the configuration that serves tell of its upstreams, also after a reload that failed.
func register(c *caddy.Controller) *teller {
	t := &teller{}
	provide := func() error {
		t.withdraw = status.Provide("hedge", t.describe)
		return nil
	}
	c.OnStartup(provide)
	c.OnRestartFailed(provide)
	c.OnShutdown(func() error {
		if t.withdraw != nil {
			t.withdraw()
		}
		return nil
	})
	return t
}

// describe fills in the part of the upstreams. Directives with the same upstreams and terms share an entry.
func (t *teller) describe(r *status.Report) {
	for _, d := range t.all {
		for _, u := range d.upstreams {
			it := u.describe()
			it.Stale, it.Timeout = d.stale.Seconds(), d.Timeout.Seconds()
			same := func(o status.Upstream) bool {
				return o.Address == it.Address && o.Stale == it.Stale && o.Timeout == it.Timeout
			}
			if i := slices.IndexFunc(r.Upstreams, same); i < 0 {
				it.Zones = slices.Clone(d.zones)
				r.Upstreams = append(r.Upstreams, it)
			} else {
				r.Upstreams[i].Zones = append(r.Upstreams[i].Zones, d.zones...)
			}
		}
	}
}

// describe returns what is known of the upstream itself.
func (u *upstream) describe() status.Upstream {
	last := u.health.last.Load()
	out := status.Upstream{Address: u.addr, Silent: !u.health.ok()}
	if last != u.health.begun {
		out.Answered = wall(last)
	}
	if out.Silent {
		out.Since = wall(last)
	}
	return out
}

// zonesOf returns the zones whose questions come to a directive for the zone from.
func zonesOf(c *caddy.Controller, from string) (zones []string) {
	for _, key := range c.ServerBlockKeys {
		for _, zone := range plugin.Host(key).NormalizeExact() {
			if from == "." {
				zones = append(zones, zone)
			}
		}
	}
	if len(zones) == 0 {
		return []string{from}
	}
	return zones
}

// defaultStale is how long the plugin cache gives old answers if serve_stale names no time (plugin/cache/setup.go).
const defaultStale = time.Hour

// staleOf returns for how long after its end an answer is given in the server block of c while the upstream is silent: that is up
// to the plugin cache, whose rules keep follows. 0: old answers are not given.
func staleOf(c *caddy.Controller) (stale time.Duration) {
	blocks, err := serverblocks.Of(c)
	if err != nil || c.ServerBlockIndex >= len(blocks) {
		return 0
	}
	d := caddyfile.NewDispenserTokens("", blocks[c.ServerBlockIndex].Tokens["cache"])
	for d.Next() {
		d.RemainingArgs()
		for d.NextBlock() {
			name, args := d.Val(), d.RemainingArgs()
			if name != "serve_stale" {
				continue
			}
			stale = defaultStale
			if len(args) > 0 {
				if given, err := time.ParseDuration(args[0]); err == nil {
					stale = given
				}
			}
		}
	}
	return stale
}
