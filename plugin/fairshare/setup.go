// SPDX-License-Identifier: Apache-2.0

// Package fairshare bounds the questions that wait for the plugins behind it. When places are short, fairshare also bounds the
// questions of each client.
package fairshare

import (
	"strconv"
	"strings"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	clog "github.com/coredns/coredns/plugin/pkg/log"
)

var log = clog.NewWithPlugin("fairshare")

func init() { plugin.Register("fairshare", setup) }

const (
	defaultMost = 1000
	mostMost    = 1 << 20
)

func setup(c *caddy.Controller) error {
	most, err := parse(c)
	if err != nil {
		return plugin.Error("fairshare", err)
	}
	f := New(strings.Join(plugin.OriginsFromArgsOrServerBlock(nil, c.ServerBlockKeys), " "), most)
	dnsserver.GetConfig(c).AddPlugin(func(next plugin.Handler) plugin.Handler {
		f.Next = next
		return f
	})
	return nil
}

// parse reads one directive and returns the number of questions that may wait.
func parse(c *caddy.Controller) (most int, err error) {
	most = defaultMost
	for i := 0; c.Next(); i++ {
		if i > 0 {
			return 0, c.Err("given twice in one server block")
		}
		switch args := c.RemainingArgs(); len(args) {
		case 0:
		case 1:
			if most, err = strconv.Atoi(args[0]); err != nil || most < 1 || most > mostMost {
				return 0, c.Errf("%q: want a number of questions, from 1 to %d", args[0], mostMost)
			}
		default:
			return 0, c.Errf("want one number at most, got %d", len(args))
		}
		if c.NextBlock() {
			return 0, c.Errf("unknown option %q: there are none", c.Val())
		}
	}
	return most, nil
}
