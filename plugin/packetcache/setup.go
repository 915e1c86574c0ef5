// SPDX-License-Identifier: Apache-2.0

// Package packetcache answers queries over UDP that were answered a moment ago from the packets of those answers, without
// parsing. Every other query goes through the plugins, as it would without this plugin.
package packetcache

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/metrics"
	clog "github.com/coredns/coredns/plugin/pkg/log"

	"github.com/nodelocaldns/nodelocaldns/internal/busiest"
	"github.com/nodelocaldns/nodelocaldns/internal/memlimit"
	"github.com/nodelocaldns/nodelocaldns/internal/serverblocks"
)

var log = clog.NewWithPlugin("packetcache")

func init() { plugin.Register("packetcache", setup) }

const (
	defaultTTL  = time.Second
	maxTTL      = time.Hour
	defaultSize = 8 << 20 // without a memory limit
	minSize     = 256 << 10
	maxSize     = 1 << 30

	defaultAdmit       = 5 * time.Second
	minAdmit, maxAdmit = 100 * time.Millisecond, time.Minute
)

// options is what one directive says.
type options struct {
	TTL  time.Duration // how long an answer is used at most
	Size int           // octets of memory for each address

	Kernel kernelUse
	Admit  time.Duration // how long the kernel answers a client after a query that came to the socket
}

// serversKey is the key under which caddy keeps the *servers of a configuration.
type serversKey struct{}

func setup(c *caddy.Controller) error {
	o, where, err := parse(c)
	if err != nil {
		return plugin.Error("packetcache", err)
	}
	blocks, err := serverblocks.Of(c)
	if err != nil {
		return plugin.Error("packetcache", err)
	}
	all, ok := c.Get(serversKey{}).(*servers)
	if !ok {
		all = &servers{options: o}
		c.Set(serversKey{}, all)
		busiest.Provide(c)
		c.OnShutdown(all.close)
		c.OnRestartFailed(forgetExpected)
	}
	if where != "" {
		if all.where != "" && all.options != o {
			return plugin.Error("packetcache", fmt.Errorf("%s: differs from that at %s: say the same in each server block, or nothing", where, all.where))
		}
		all.where, all.options = where, o
	}
	own := blocks[c.ServerBlockIndex]
	h := &Packetcache{}
	_, h.block.rotates = own.Tokens["loadbalance"]
	h.block.cached = zonesOfCache(own.Tokens["cache"], c.ServerBlockKeys)
	if _, renames := own.Tokens["rewrite"]; renames && !slices.Contains(h.block.cached, ".") {
		h.block.cached = nil // the plugin cache may see another name, which may be in none of its zones
	}
	site := dnsserver.GetConfig(c)
	site.AddPlugin(func(next plugin.Handler) plugin.Handler {
		h.Next = next
		return h
	})
	if reason := checkBlock(own, blocks); reason != "" {
		log.Infof("Not used for %s: %s", strings.Join(own.Keys, " "), reason)
		return nil
	}
	h.block.safe = true
	site.UDPDecorateWriterFunc = all.start
	c.OnStartup(func() error {
		h.block.prometheus, _ = site.Handler("prometheus").(*metrics.Metrics)
		all.expect(addrsOf(site, c.ServerBlockKeys))
		return nil
	})
	return nil
}

// parse reads one directive. where is the file and line of the directive; empty: the directive has no options.
func parse(c *caddy.Controller) (o options, where string, err error) {
	o = options{TTL: defaultTTL, Size: memlimit.Process().Share(defaultSize), Admit: defaultAdmit}
	for i := 0; c.Next(); i++ {
		line := fmt.Sprintf("%s:%d", c.File(), c.Line())
		if i > 0 {
			return o, "", c.Err("given twice in one server block")
		}
		if len(c.RemainingArgs()) > 0 {
			return o, "", c.ArgErr()
		}
		for c.NextBlock() {
			where = line
			name, args := c.Val(), c.RemainingArgs()
			if name == "kernel" && len(args) == 0 {
				o.Kernel = kernelOn
				continue
			}
			if len(args) != 1 {
				return o, "", c.Errf("%s: want one value, got %d", name, len(args))
			}
			if err := o.set(c, name, args[0]); err != nil {
				return o, "", err
			}
		}
	}
	return o, where, nil
}

func (o *options) set(c *caddy.Controller, name, value string) (err error) {
	switch name {
	case "ttl":
		if o.TTL, err = time.ParseDuration(value); err != nil || o.TTL <= 0 || o.TTL > maxTTL {
			return c.Errf("ttl %q: want a duration such as 1s, of 1h at most", value)
		}
	case "size":
		if o.Size, err = strconv.Atoi(value); err != nil || o.Size < minSize || o.Size > maxSize {
			return c.Errf("size %q: want octets, from %d to %d", value, minSize, maxSize)
		}
	case "kernel":
		if o.Kernel = kernelForce; value != "force" {
			return c.Errf("kernel %q: want nothing or force", value)
		}
	case "admit":
		if o.Admit, err = time.ParseDuration(value); err != nil || o.Admit < minAdmit || o.Admit > maxAdmit {
			return c.Errf("admit %q: want a duration such as 5s, from %s to %s", value, minAdmit, maxAdmit)
		}
	default:
		return c.Errf("unknown option %q: known are ttl, size, kernel and admit", name)
	}
	return nil
}
