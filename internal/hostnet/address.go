// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"net/netip"
	"slices"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/steering"
)

// A State is where an address of the cache is in its life. docs/design.md has the table of all states and events.
type State uint8

// The states of an address.
const (
	Absent   State = iota // neither on the link nor in a rule
	Standing              // on the link; no rule steers to it, and the cluster DNS answers
	Settling              // on the link; DNS is steered to it, but of TCP only connections that begin now
	Steered               // on the link; DNS is steered to it
	Forsaken              // off the link: its steering had to end, but rules or fallback table could not be changed
	Parting               // on the link for servers of an earlier configuration; the present one lacks it
)

var stateNames = [...]string{"absent", "standing", "settling", "steered", "forsaken", "parting"}

// String returns the name of the state as docs/design.md and the tests have it.
func (s State) String() string { return stateNames[s] }

// An event is what happened to an address. A plan also uses the events that its steps will cause.
type event uint8

const (
	named     event = iota // the configuration names the address
	dropped                // the configuration lacks the address
	ended                  // the servers of earlier configurations have ended
	begun                  // rules steer to the address: UDP, and TCP connections that begin now
	whole                  // rules steer everything to the address
	withdrawn              // no rule steers to the address any more
	missed                 // rules that steer to the address were missing for a while, and are back
	stuck                  // the steering was to end, and rules or fallback table could not be changed
	closed                 // the link has gone for good
)

// moves has the state that follows for each event and state. Where a state is not listed the event changes nothing.
var moves = map[event]map[State]State{
	named:   {Absent: Standing, Parting: Standing},
	dropped: {Standing: Parting, Settling: Parting, Steered: Parting, Forsaken: Parting},
	ended:   {Parting: Absent},
	// A forsaken address settles, too: connections to the cluster DNS began meanwhile.
	begun:     {Standing: Settling, Forsaken: Settling},
	whole:     {Standing: Steered, Settling: Steered, Forsaken: Steered},
	withdrawn: {Settling: Standing, Steered: Standing, Forsaken: Standing},
	missed:    {Steered: Settling},
	// Standing, too: the rules may have changed before the fallback table failed. The table answers once the address is gone.
	stuck:  {Standing: Forsaken, Settling: Forsaken, Steered: Forsaken},
	closed: {Standing: Absent, Settling: Absent, Steered: Absent, Forsaken: Absent, Parting: Absent},
}

// next returns the state that an event leads to.
func next(s State, e event) State {
	if to, ok := moves[e][s]; ok {
		return to
	}
	return s
}

// settleTime is how long an address is settling. TCP connections to the cluster DNS that were in use when steering
// began end in this time.
const settleTime = 3 * time.Second

// An Address is one address of the cache.
type Address struct {
	IP    netip.Addr
	State State
	Since time.Time // when the state began, or began again
}

// Addresses are the addresses of the cache: those of the configuration in its order, then those that part.
type Addresses []Address

// In returns the addresses that are in one of some states.
func (all Addresses) In(states ...State) (ips []netip.Addr) {
	for _, a := range all {
		if slices.Contains(states, a.State) {
			ips = append(ips, a.IP)
		}
	}
	return ips
}

// after returns the address as an event at a time leaves it.
func (a Address) after(now time.Time, e event) Address {
	if to := next(a.State, e); to != a.State || e == missed {
		a.State, a.Since = to, now
	}
	return a
}

// A book is a configuration, and the states of the addresses under it.
type book struct {
	cfg   Config
	addrs Addresses
}

// after returns the book with the addresses that which selects as an event leaves them.
func (b book) after(now time.Time, e event, which func(Address) bool) book {
	b.addrs = slices.Clone(b.addrs)
	for i, a := range b.addrs {
		if which(a) {
			b.addrs[i] = a.after(now, e)
		}
	}
	return b
}

func all(Address) bool { return true }

// find returns the address, absent if the book lacks it.
func (b book) find(ip netip.Addr) Address {
	if i := slices.IndexFunc(b.addrs, func(a Address) bool { return a.IP == ip }); i >= 0 {
		return b.addrs[i]
	}
	return Address{IP: ip}
}

// carried returns the addresses of the link.
func (b book) carried() []netip.Addr { return b.addrs.In(Standing, Settling, Steered, Parting) }

// away returns the addresses that the fallback table answers for in any case, though the link carries them.
func (b book) away() []netip.Addr { return b.addrs.In(Standing) }

// steered returns the addresses that rules steer to. The rules of a forsaken address are inert. A fallback table that does not
// answer for an address of this host answers for a forsaken one.
func (b book) steered() []netip.Addr { return b.addrs.In(Settling, Steered, Forsaken) }

// steering returns the rules, apart from the uplinks.
func (b book) steering() steering.Wanted {
	return steering.Wanted{
		Addresses: b.cfg.Addresses, Port: b.cfg.Port, HealthPort: b.cfg.HealthPort,
		Steered: b.steered(), Settling: b.addrs.In(Settling),
	}
}
