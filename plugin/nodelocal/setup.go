// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	clog "github.com/coredns/coredns/plugin/pkg/log"

	"github.com/nodelocaldns/nodelocaldns/internal/busiest"
	"github.com/nodelocaldns/nodelocaldns/internal/logwriter"
	table "github.com/nodelocaldns/nodelocaldns/internal/options"
	"github.com/nodelocaldns/nodelocaldns/internal/serverblocks"
	"github.com/nodelocaldns/nodelocaldns/plugin/nodelocal/internal/loopcheck"
)

var log = clog.NewWithPlugin("nodelocal")

func init() { plugin.Register("nodelocal", setup) }

// options is what one stanza says: without the port, and with no addresses if the stanza names none.
type options = table.Network

// first is the stanza that a configuration's others must repeat.
type first struct {
	options
	where string
}

type firstKey struct{}

func setup(c *caddy.Controller) error {
	o, where, err := parse(c)
	if err != nil {
		return plugin.Error("nodelocal", err)
	}
	logwriter.InstallLogger() // the supervisor must never wait for whoever reads the log
	if f, ok := c.Get(firstKey{}).(first); ok {
		if !reflect.DeepEqual(f.options, o) {
			return plugin.Error("nodelocal", fmt.Errorf("%s: differs from the stanza at %s: the node has one network, so say the same in each", where, f.where))
		}
		return nil
	}
	c.Set(firstKey{}, first{o, where})
	// In all blocks: a self-query goes to the block whose zone fits best, which may be another block on the same address.
	dnsserver.AddPluginToAllServerBlocks(c, func(next plugin.Handler) plugin.Handler {
		return &Nodelocal{Next: next, node: theNode}
	})
	blocks, _ := serverblocks.Of(c) // an error says that nothing is going to start
	register(c, o, where, loopcheck.Zones(blocks))
	return nil
}

// register hooks the process's one node into the life of this configuration. OnShutdown removes nothing: a reload runs it after
// the next configuration has started.
func register(c *caddy.Controller, o options, where string, loopZones []string) {
	config := dnsserver.GetConfig(c)
	completed := func() (settings, error) {
		s, err := complete(o, config)
		if err != nil {
			err = plugin.Error("nodelocal", fmt.Errorf("%s: %w", where, err))
		}
		return s, err
	}
	theNode.parsed(completed)
	with := func(begin func(settings) error) func() error {
		return func() error {
			s, err := completed()
			if err != nil {
				return err
			}
			s.loopZones = loopZones
			if err := begin(s); err != nil {
				return plugin.Error("nodelocal", err)
			}
			return nil
		}
	}
	busiest.Provide(c)
	c.OnStartup(with(theNode.start))
	c.OnRestart(theNode.take(restarts))
	c.OnRestartFailed(with(theNode.restore))
	c.OnShutdown(theNode.take(ended))
	c.OnFinalShutdown(theNode.take(leaves))
}

// complete fills in what the stanza leaves to its server block.
func complete(o options, config *dnsserver.Config) (settings, error) {
	port, err := strconv.ParseUint(config.Port, 10, 16)
	if err != nil {
		return settings{}, fmt.Errorf("port %q of the server block: %w", config.Port, err)
	}
	o.Port = uint16(port)
	bound, wildcard := listenAddrs(config.ListenHosts)
	if len(o.Addresses) == 0 {
		o.Addresses = bound
	}
	if o.Owns() {
		for _, a := range o.Addresses {
			if !wildcard && !slices.Contains(bound, a) {
				return settings{}, fmt.Errorf("address %s: no server would answer there: add it to the bind line of the same server block", a)
			}
		}
		if err := o.Validate(); err != nil {
			return settings{}, err
		}
	}
	return settings{options: o, zone: config.Zone}, nil
}

func listenAddrs(hosts []string) (addrs []netip.Addr, wildcard bool) {
	for _, h := range hosts {
		a, err := netip.ParseAddr(h)
		if err != nil || a.IsUnspecified() {
			wildcard = true
			continue
		}
		addrs = append(addrs, a)
	}
	return addrs, wildcard
}

// parse reads one stanza; where is its file and line. What its values mean together is checked by complete: the addresses may
// be those of a bind that is still to be parsed.
func parse(c *caddy.Controller) (o options, where string, err error) {
	all := table.Defaults()
	for i := 0; c.Next(); i++ {
		if i > 0 {
			return o, "", c.Err("given twice in one server block")
		}
		where = fmt.Sprintf("%s:%d", c.File(), c.Line())
		for _, arg := range c.RemainingArgs() {
			a, err := netip.ParseAddr(arg)
			if err != nil {
				return o, "", c.Errf("%q is not an IP address", arg)
			}
			all.Addresses = append(all.Addresses, a)
		}
		for c.NextBlock() {
			if err := all.SetWord(c.Val(), c.RemainingArgs()); err != nil {
				return o, "", c.Err(err.Error())
			}
		}
	}
	all.Port = 0 // from the server block, later
	return all.Network, where, nil
}
