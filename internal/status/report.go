// SPDX-License-Identifier: Apache-2.0

package status

import (
	"net/netip"
	"time"
)

// A Report is what a process says of itself. A part that nobody provides is nil.
type Report struct {
	Time      time.Time  `json:"time"` // when the process made the report
	Process   *Process   `json:"process,omitempty"`
	Node      *Node      `json:"node,omitempty"`
	Upstreams []Upstream `json:"upstreams,omitempty"`
	Caches    []Cache    `json:"caches,omitempty"`
	Busiest   *Busiest   `json:"busiest,omitempty"`
}

// Busiest are the clients that asked most, and the names asked most, in the last Seconds. All figures are estimates, as the
// sketch that counts has a fixed size.
type Busiest struct {
	Seconds float64  `json:"seconds"`
	Queries uint64   `json:"queries"` // of all clients
	Clients []Client `json:"clients"` // busiest first
	Names   []Name   `json:"names"`   // asked most first
}

// A Client is an address that asks, and what it asked in the same time.
type Client struct {
	Address  netip.Addr `json:"address"`
	Queries  uint64     `json:"queries"`
	Misses   uint64     `json:"misses"`   // not answered by the packet cache
	NXDomain uint64     `json:"nxdomain"` // answered with NXDOMAIN
	Name     string     `json:"name"`     // a name that it asks often
}

// A Name is a question's name and how often it was asked in the same time.
type Name struct {
	Name    string `json:"name"`
	Queries uint64 `json:"queries"`
}
