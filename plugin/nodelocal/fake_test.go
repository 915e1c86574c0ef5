// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
)

// A fakeNetwork keeps states of addresses as hostnet does, and writes down what was done. Its fields are used with the node
// locked.
type fakeNetwork struct {
	did     func(format string, args ...any)
	config  hostnet.Config
	states  map[netip.Addr]hostnet.State
	since   map[netip.Addr]time.Time
	renewed time.Time
	awaited time.Time
	closed  bool
	events  chan hostnet.Event

	fails    map[string]failure // by what fails
	broken   []string           // what the next looks find
	takes    time.Duration      // for a look
	linkGone bool
	peers    string
	uplinks  []hostnet.Uplink
	fallback []netip.Addr
	warnings []string
}

// settleTime is as in hostnet.
const settleTime = 3 * time.Second

func newFakeNetwork(c hostnet.Config, did func(string, ...any)) *fakeNetwork {
	f := &fakeNetwork{did: did, config: c, states: map[netip.Addr]hostnet.State{}, since: map[netip.Addr]time.Time{},
		events: make(chan hostnet.Event, 1), fails: map[string]failure{}, fallback: c.Fallback, renewed: time.Now()}
	for _, a := range c.Addresses {
		f.enter(a, hostnet.Standing)
	}
	return f
}

func (f *fakeNetwork) enter(a netip.Addr, s hostnet.State) {
	if f.states[a] != s {
		f.states[a], f.since[a] = s, time.Now()
	}
}

// A failure is an error that something has for a time.
type failure struct {
	err   error
	until time.Time
}

func (f *fakeNetwork) fail(what string) error {
	if it := f.fails[what]; time.Now().Before(it.until) {
		return it.err
	}
	return nil
}

// in returns the addresses in a state, in order.
func (f *fakeNetwork) in(states ...hostnet.State) (addrs []netip.Addr) {
	for _, a := range slices.SortedFunc(maps.Keys(f.states), netip.Addr.Compare) {
		if slices.Contains(states, f.states[a]) {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

func (f *fakeNetwork) Apply(w hostnet.Want) (c hostnet.Change, err error) {
	if w.Servers == hostnet.ServersStarting {
		return f.replace(w.Config)
	}
	if !w.Config.Equal(f.config) {
		f.did("apply another configuration in a round: %v", w.Config.Addresses)
	}
	if w.Servers == hostnet.OwnServers {
		for _, a := range f.in(hostnet.Parting) {
			f.did("apply: %s leaves the link", a)
			delete(f.states, a)
		}
	}
	have := f.in(hostnet.Settling, hostnet.Steered)
	on, off := without(w.Steered, have), without(have, w.Steered)
	if c.Off = off; len(on)+len(off)+len(f.in(hostnet.Forsaken)) == 0 {
		return hostnet.Change{}, f.settle(w.Servers)
	}
	if err := f.fail("apply"); err != nil {
		return f.forsake(c.Off, err)
	}
	for _, a := range append(c.Off, f.in(hostnet.Forsaken)...) {
		f.enter(a, hostnet.Standing)
	}
	for _, a := range on {
		f.enter(a, hostnet.Settling)
	}
	f.did("apply: steer %v", w.Steered)
	return c, nil
}

func (f *fakeNetwork) forsake(off []netip.Addr, err error) (hostnet.Change, error) {
	f.did("apply: steering cannot be changed: %v", err)
	if err == hostnet.ErrTurn {
		if f.awaited.IsZero() {
			f.awaited = time.Now()
		}
		return hostnet.Change{}, err
	}
	for _, a := range off {
		f.did("apply: %s leaves the link, rules stay", a)
		f.enter(a, hostnet.Forsaken)
	}
	return hostnet.Change{Forsaken: off}, err
}

func (f *fakeNetwork) settle(s hostnet.Servers) error {
	for _, a := range f.in(hostnet.Settling) {
		if s != hostnet.OwnServers || time.Since(f.since[a]) < settleTime {
			continue
		}
		if err := f.fail("apply"); err != nil {
			return err
		}
		f.did("apply: settle %s", a)
		f.enter(a, hostnet.Steered)
	}
	return nil
}

// replace is Apply at a reload.
func (f *fakeNetwork) replace(c hostnet.Config) (change hostnet.Change, err error) {
	f.renewed = time.Now()
	for _, a := range f.in(hostnet.Forsaken) {
		f.did("apply: %s comes back to the link", a)
		f.enter(a, hostnet.Steered)
	}
	if c.Equal(f.config) {
		return change, nil
	}
	if err := f.fail("apply"); err != nil {
		return change, err
	}
	f.did("apply: configuration with %v", c.Addresses)
	if old := f.config; old.Link != c.Link || old.Firewall != c.Firewall || old.Port != c.Port {
		f.did("apply: steering off, drained")
		for a := range f.states {
			f.enter(a, hostnet.Standing)
		}
		change.Drained = true
	}
	for _, a := range without(f.config.Addresses, c.Addresses) {
		f.enter(a, hostnet.Parting)
	}
	for _, a := range c.Addresses {
		if f.states[a] == hostnet.Absent || f.states[a] == hostnet.Parting {
			f.enter(a, hostnet.Standing)
		}
	}
	f.config = c
	return change, nil
}

func (f *fakeNetwork) Renew() (bool, error) {
	if err := f.fail("renew"); err != nil {
		return false, err
	}
	f.renewed = time.Now()
	repaired := f.linkGone
	f.linkGone = false
	return repaired, nil
}

func (f *fakeNetwork) Check(thorough bool) (found hostnet.Findings, err error) {
	time.Sleep(f.takes)
	found.Peers = f.peers
	if found.Skipped = f.peers != "" && !thorough; found.Skipped {
		return found, nil
	}
	found.Broken, f.broken = f.broken, nil
	if len(found.Broken) == 0 {
		return found, f.fail("look")
	}
	if err = f.fail("repair"); err != nil {
		found.Bare, f.broken = slices.Contains(found.Broken, "rules"), found.Broken
		return found, err
	}
	f.did("check: put back %v", found.Broken)
	return found, nil
}

func (f *fakeNetwork) Status() hostnet.Status {
	s := hostnet.Status{Network: "fake link, fake rules", Link: "fake", Firewall: "fake", Renewed: f.renewed, TurnAwaited: f.awaited, Uplinks: f.uplinks,
		Fallback: f.fallback, Warnings: f.warnings}
	f.warnings = nil
	for _, a := range f.config.Addresses {
		s.Addresses = append(s.Addresses, hostnet.Address{IP: a, State: f.states[a], Since: f.since[a]})
	}
	return s
}

// left returns what is left of the lease of an address on the link.
func (f *fakeNetwork) left(a netip.Addr) time.Duration {
	if s := f.states[a]; s == hostnet.Absent || s == hostnet.Forsaken {
		return 0
	}
	return f.config.Lease - time.Since(f.renewed)
}

func (f *fakeNetwork) Events() <-chan hostnet.Event { return f.events }

func (f *fakeNetwork) Leave(how hostnet.Leaving) error {
	deadline := time.Now().Add(how.Patience)
	err := f.fail("leave")
	for ; err != nil && time.Now().Before(deadline); err = f.fail("leave") {
		how.Waiting(err)
		time.Sleep(20 * time.Millisecond)
	}
	drains := how.Heard || len(f.in(hostnet.Settling, hostnet.Steered, hostnet.Forsaken)) > 0
	for _, a := range f.config.Addresses {
		f.enter(a, hostnet.Standing)
	}
	f.did("leave: steering off")
	how.Off()
	if drains {
		f.did("leave: drained")
	}
	return err
}

func (f *fakeNetwork) Close(keep bool) error {
	f.did("close%s", map[bool]string{true: ", rules and link stay", false: ""}[keep])
	if f.closed {
		f.did("close: a second time")
	}
	f.closed = true
	return f.fail("close")
}

// show prints the states.
func (f *fakeNetwork) show() string {
	var s []string
	for _, a := range slices.SortedFunc(maps.Keys(f.states), netip.Addr.Compare) {
		s = append(s, fmt.Sprintf("%s %s", a, f.states[a]))
	}
	return strings.Join(s, ", ")
}

func without(addrs, taken []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return slices.Contains(taken, a) })
}
