// SPDX-License-Identifier: Apache-2.0

// Package hedge sends questions to upstreams over TCP. If an answer does not come, hedge sends the question again over another
// connection, beside the first attempt.
package hedge

import (
	"strconv"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	clog "github.com/coredns/coredns/plugin/pkg/log"
	"github.com/coredns/coredns/plugin/pkg/parse"
	"github.com/coredns/coredns/plugin/pkg/transport"
)

var log = clog.NewWithPlugin("hedge")

func init() { plugin.Register("hedge", setup) }

const (
	maxUpstreams = 15 // the limit of the plugin forward
	// defaultConcurrent is more than the plugin fairshare admits by default.
	defaultConcurrent = 2000
)

// options are the options of one directive.
type options struct {
	From          string        // the zone
	To            []string      // ADDRESS:PORT
	After         time.Duration // time before a second attempt
	Timeout       time.Duration // of a question with all its attempts
	MaxAge        time.Duration // of a connection; 0: no bound
	MaxConcurrent int           // bound of the questions without an answer
}

// The directives of a configuration share the connections and the health of an upstream with the same address and max_age.
type (
	upstreamsKey struct{}
	upstreamKey  struct {
		addr   string
		maxAge time.Duration
	}
)

func setup(c *caddy.Controller) error {
	all, err := parseAll(c)
	if err != nil {
		return plugin.Error("hedge", err)
	}
	known, ok := c.Get(upstreamsKey{}).(map[upstreamKey]*upstream)
	if !ok {
		known = map[upstreamKey]*upstream{}
		c.Set(upstreamsKey{}, known)
		c.Set(tellerKey{}, register(c))
	}
	for _, o := range all {
		h := &Hedge{options: o, budgets: newBudgets()}
		tells, _ := c.Get(tellerKey{}).(*teller)
		tells.all = append(tells.all, told{h, zonesOf(c, o.From), staleOf(c)})
		for _, to := range o.To {
			key := upstreamKey{to, o.MaxAge}
			if known[key] == nil {
				known[key] = newUpstream(to, probeZone(c, o), o.MaxAge)
				c.OnStartup(known[key].start)
			}
			h.upstreams = append(h.upstreams, known[key])
		}
		c.OnShutdown(h.close)
		dnsserver.GetConfig(c).AddPlugin(func(next plugin.Handler) plugin.Handler {
			h.Next = next
			return h
		})
	}
	return nil
}

// probeZone returns the zone whose SOA a probe asks for: the zone of the directive. For the root it is the zone of the server
// block.
func probeZone(c *caddy.Controller, o options) string {
	if o.From != "." || len(c.ServerBlockKeys) == 0 {
		return o.From
	}
	if zones := plugin.Host(c.ServerBlockKeys[0]).NormalizeExact(); len(zones) > 0 {
		return zones[0]
	}
	return o.From
}

func parseAll(c *caddy.Controller) (all []options, err error) {
	for c.Next() {
		o, err := parseOne(c)
		if err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, nil
}

func parseOne(c *caddy.Controller) (options, error) {
	o := options{After: 50 * time.Millisecond, Timeout: 3 * time.Second, MaxAge: 30 * time.Second, MaxConcurrent: defaultConcurrent}
	args := c.RemainingArgs()
	if len(args) < 2 {
		return o, c.Errf("want a zone and at least one address, as in hedge . 10.96.0.10")
	}
	zones := plugin.Host(args[0]).NormalizeExact()
	if len(zones) != 1 {
		return o, c.Errf("%q is not one zone", args[0])
	}
	o.From = zones[0]
	hosts, err := parse.HostPortOrFile(args[1:]...)
	if err != nil {
		return o, c.Err(err.Error())
	}
	if len(hosts) > maxUpstreams {
		return o, c.Errf("%d addresses; want %d at most", len(hosts), maxUpstreams)
	}
	for _, host := range hosts {
		trans, addr := parse.Transport(host)
		if trans != transport.DNS {
			return o, c.Errf("%q: want an address that is asked over TCP; for %s use forward", host, trans)
		}
		o.To = append(o.To, addr)
	}
	for c.NextBlock() {
		if err := o.parse(c); err != nil {
			return o, err
		}
	}
	if o.After >= o.Timeout {
		return o, c.Errf("after %s: want less than the timeout of %s", o.After, o.Timeout)
	}
	return o, nil
}

func (o *options) parse(c *caddy.Controller) (err error) {
	name, args := c.Val(), c.RemainingArgs()
	if len(args) != 1 {
		return c.Errf("%s: want one value, got %d", name, len(args))
	}
	switch name {
	case "after":
		o.After, err = duration(c, name, args[0], time.Millisecond, time.Minute)
	case "timeout":
		o.Timeout, err = duration(c, name, args[0], 10*time.Millisecond, time.Minute)
	case "max_age":
		o.MaxAge, err = duration(c, name, args[0], 0, 24*time.Hour)
	case "max_concurrent":
		if o.MaxConcurrent, err = strconv.Atoi(args[0]); err != nil || o.MaxConcurrent < 1 {
			err = c.Errf("max_concurrent %q: want a number of questions, 1 or more", args[0])
		}
	default:
		err = c.Errf("unknown option %q: known are after, timeout, max_age and max_concurrent", name)
	}
	return err
}

func duration(c *caddy.Controller, name, value string, least, most time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	if err != nil || d < least || d > most {
		return 0, c.Errf("%s %q: want a duration from %s to %s, such as 50ms", name, value, least, most)
	}
	return d, nil
}
