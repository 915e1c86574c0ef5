// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	clog "github.com/coredns/coredns/plugin/pkg/log"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	"github.com/nodelocaldns/nodelocaldns/internal/logwriter"
	"github.com/nodelocaldns/nodelocaldns/internal/serverblocks"
	"github.com/nodelocaldns/nodelocaldns/plugin/nodelocal/internal/loopcheck"
)

var log = clog.NewWithPlugin("nodelocal")

func init() { plugin.Register("nodelocal", setup) }

// options is what one stanza says.
type options struct {
	hostnet.Config // without the port, and with no addresses if the stanza names none
	Resync         time.Duration
	SkipTeardown   bool
}

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
	// Whichever block a self-query comes to: one of a zone at or above its name may be on the same address.
	dnsserver.AddPluginToAllServerBlocks(c, func(next plugin.Handler) plugin.Handler {
		return &Nodelocal{Next: next, node: theNode}
	})
	blocks, _ := serverblocks.Of(c) // an error says that nothing is going to start
	register(c, o, dnsserver.GetConfig(c), loopcheck.Zones(blocks))
	return nil
}

// register hooks the process's one node into the life of this configuration.
// Nothing is torn down in OnShutdown: a reload runs it after the next
// configuration has started.
func register(c *caddy.Controller, o options, config *dnsserver.Config, loopZones []string) {
	theNode.parsed(func() (settings, error) { return complete(o, config) })
	with := func(begin func(settings) error) func() error {
		return func() error {
			s, err := complete(o, config)
			s.loopZones = loopZones
			if err == nil {
				err = begin(s)
			}
			if err != nil {
				return plugin.Error("nodelocal", err)
			}
			return nil
		}
	}
	c.OnStartup(with(theNode.start))
	c.OnRestart(func() error { theNode.restarting(); return nil })
	c.OnRestartFailed(with(theNode.restore))
	c.OnShutdown(func() error { theNode.ended(); return nil })
	c.OnFinalShutdown(func() error { theNode.leave(); return nil })
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
	if o.owns() {
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

// owns reports whether there is anything of the node's network to own.
func (o options) owns() bool {
	return o.Link != hostnet.None || o.Firewall != hostnet.None
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

// parse reads one stanza; where is its file and line.
func parse(c *caddy.Controller) (o options, where string, err error) {
	o = options{
		Config: hostnet.Config{Interface: hostnet.DefaultInterface, Link: hostnet.Auto, Firewall: hostnet.Auto, Uplink: hostnet.UplinkAuto, HealthPort: 8080, Lease: 3 * time.Second,
			FallbackZone: hostnet.DefaultFallbackZone},
		Resync: 30 * time.Second,
	}
	for i := 0; c.Next(); i++ {
		if i > 0 {
			return o, "", c.Err("given twice in one server block")
		}
		where = fmt.Sprintf("%s:%d", c.File(), c.Line())
		if o.Addresses, err = addresses(c, c.RemainingArgs()); err != nil {
			return o, "", err
		}
		for c.NextBlock() {
			if err := parseOption(c, &o); err != nil {
				return o, "", err
			}
		}
	}
	check := o.Config
	if len(check.Addresses) == 0 { // from the server block, later
		check.Addresses = []netip.Addr{netip.MustParseAddr("169.254.20.10")}
	}
	if o.owns() {
		if err := check.Validate(); err != nil {
			return o, "", c.Err(err.Error())
		}
	}
	return o, where, nil
}

func parseOption(c *caddy.Controller, o *options) (err error) {
	name, args := c.Val(), c.RemainingArgs()
	switch name {
	case "skip_teardown":
		if len(args) != 0 {
			return c.ArgErr()
		}
		o.SkipTeardown = true
		return nil
	case "fallback":
		if len(args) == 0 {
			return c.ArgErr()
		}
		if len(args) == 1 && args[0] == hostnet.None {
			return nil
		}
		o.Fallback, err = addresses(c, args)
		return err
	}
	if len(args) != 1 {
		return c.Errf("%s: want one value, got %d", name, len(args))
	}
	return parseValue(c, o, name, args[0])
}

func parseValue(c *caddy.Controller, o *options, name, value string) (err error) {
	switch name {
	case "interface":
		o.Interface = value
	case "link":
		o.Link = value
	case "firewall":
		o.Firewall = value
	case "uplink":
		o.Uplink = value
	case "lease":
		o.Lease, err = duration(c, name, value)
	case "resync":
		if o.Resync, err = duration(c, name, value); err == nil && o.Resync < time.Second {
			err = c.Errf("resync %s: want at least 1s", value)
		}
	case "health_port":
		port, perr := strconv.ParseUint(value, 10, 16)
		if perr != nil {
			err = c.Errf("health_port %q: want a port from 1 to 65535, or 0 for none", value)
		}
		o.HealthPort = uint16(port)
	case "fallback_zone":
		zone, perr := strconv.ParseUint(value, 10, 16)
		if perr != nil || zone == 0 {
			err = c.Errf("fallback_zone %q: want a conntrack zone from 1 to 65535", value)
		}
		o.FallbackZone = uint16(zone)
	default:
		err = c.Errf("unknown option %q: known are interface, link, firewall, uplink, lease, resync, health_port, fallback, fallback_zone, skip_teardown", name)
	}
	return err
}

func duration(c *caddy.Controller, name, value string) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	if err != nil {
		return 0, c.Errf("%s %q: want a duration such as 3s", name, value)
	}
	return d, nil
}

func addresses(c *caddy.Controller, args []string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, arg := range args {
		a, err := netip.ParseAddr(arg)
		if err != nil {
			return nil, c.Errf("%q is not an IP address", arg)
		}
		out = append(out, a)
	}
	return out, nil
}
