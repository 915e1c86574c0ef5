// SPDX-License-Identifier: Apache-2.0

package status

import (
	"net/netip"
	"time"
)

// A Process is what runs, and what of the configuration.
type Process struct {
	PID     int       `json:"pid"` // in the process's own namespace
	Version string    `json:"version"`
	Commit  string    `json:"commit"`
	CoreDNS string    `json:"coredns"`
	Started time.Time `json:"started"`

	Source  string    `json:"source"`            // what the running Corefile was made from: a template's path, or that of a Corefile
	Hash    string    `json:"hash"`              // of the running Corefile: the first 12 hexadecimal digits of its SHA-256; empty: nothing runs yet
	Serving time.Time `json:"serving,omitzero"`  // since when the running Corefile serves
	Reload  *Reload   `json:"reload,omitempty"`  // the last one; nil: there was none
	StandIn string    `json:"stand_in,omitzero"` // what runs in place of what the files say; empty: nothing does
	Fault   string    `json:"fault,omitzero"`    // why what the files say does not run; empty: it runs
}

// A Reload is an attempt to replace the running configuration.
type Reload struct {
	Time  time.Time `json:"time"`
	Error string    `json:"error,omitzero"` // with file and line where it has one; empty: the configuration serves
}

// A Node is the process's piece of the node's network.
type Node struct {
	// Waiting is what the process waits for before there is any network; the rest is empty then.
	Waiting string `json:"waiting,omitzero"`
	// Owned says that the configuration asks for a link or for rules. Without it queries come by another way, and the rest is empty.
	Owned     bool          `json:"owned"`
	Leaving   bool          `json:"leaving,omitzero"` // the process is ending, or has found a loop
	Looked    time.Time     `json:"looked,omitzero"`  // when the last look at the node ended; there is one a second
	Addresses []NodeAddress `json:"addresses,omitempty"`
	Network   string        `json:"network,omitzero"` // kind and name of the link, and the firewall
	Fallback  []netip.Addr  `json:"fallback"`         // addresses that the fallback table answers for while no cache does
	Rules     Rules         `json:"rules"`
	Lease     float64       `json:"lease_seconds"`     // of the addresses; 0: unlimited
	Troubles  []string      `json:"troubles,omitzero"` // that last, as the log says them
	Peers     string        `json:"peers,omitzero"`    // who the other instances on this node are; empty: none was seen
	Awaited   time.Time     `json:"awaited,omitzero"`  // since when another instance has had the right to change rules; zero: it has not
	Turn      string        `json:"turn,omitzero"`     // who that is
}

// A NodeAddress is an address of the cache.
type NodeAddress struct {
	Address netip.Addr `json:"address"`
	State   string     `json:"state"`   // of hostnet.State, as the process knows it
	Steered bool       `json:"steered"` // DNS to the address comes to this process, as the process and the kernel say
	Since   time.Time  `json:"since"`   // when Steered became so
	Why     string     `json:"why,omitzero"`
	Left    *float64   `json:"lease_left_seconds"` // as the kernel says; nil: the kernel has the address not, or without end
}

// Rules are the firewall rules and the fallback table.
type Rules struct {
	Looked   time.Time `json:"looked,omitzero"`   // the last look that was not skipped; zero: there was none
	Skipped  bool      `json:"skipped,omitzero"`  // the rules are not looked at, since other instances have them, too
	Error    string    `json:"error,omitzero"`    // why they cannot be read or put back; empty: they are as they should be
	Repaired string    `json:"repaired,omitzero"` // what was put back last; empty: nothing was
	At       time.Time `json:"at,omitzero"`       // when that was
}

// An Upstream is a server that the cache asks, under the same terms for all Zones.
type Upstream struct {
	Address  string    `json:"address"` // ADDRESS:PORT
	Zones    []string  `json:"zones"`
	Answered time.Time `json:"answered,omitzero"` // its last answer; zero: it has not answered yet
	Silent   bool      `json:"silent"`            // neither a question nor a probe was answered
	Since    time.Time `json:"since,omitzero"`    // the beginning of the silence: the last answer, or without one the start
	Stale    float64   `json:"stale_seconds"`     // for how long after its end an old answer is given meanwhile; 0: none is
	Timeout  float64   `json:"timeout_seconds"`   // after which a client without an old answer gets SERVFAIL
}

// A Cache is one of the places where answers are known.
type Cache struct {
	Name   string `json:"name"`
	Hits   uint64 `json:"hits"` // old answers included
	Misses uint64 `json:"misses"`
	Old    uint64 `json:"old"` // answers given after the end of their TTL
}
