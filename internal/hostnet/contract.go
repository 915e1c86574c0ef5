// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"net/netip"
	"reflect"
	"time"
)

// A Want is what Apply makes of the node.
type Want struct {
	Config  Config
	Steered []netip.Addr // of Config.Addresses
	Servers Servers
}

// Servers says whose servers run.
type Servers uint8

// The phases of a reload.
const (
	OwnServers Servers = iota
	ServersStarting
	BothServers
)

func (s Servers) String() string {
	return [...]string{"own servers", "servers starting", "both servers"}[s]
}

// A Change says what Apply did.
type Change struct {
	On, Off, Forsaken []netip.Addr
	Drained           bool
}

// Findings are what Check saw.
type Findings struct {
	Skipped  bool
	Broken   []string
	Repaired bool
	Bare     bool
	Peers    string
}

// A State is that of an address.
type State uint8

// The states of an address.
const (
	Absent State = iota
	Standing
	Settling
	Steered
	Forsaken
	Parting
)

func (s State) String() string {
	return [...]string{"absent", "standing", "settling", "steered", "forsaken", "parting"}[s]
}

// An Address is one with its state.
type Address struct {
	IP    netip.Addr
	State State
	Since time.Time
}

// A Status is a snapshot.
type Status struct {
	Addresses   []Address
	Network     string
	Renewed     time.Time
	TurnAwaited time.Time
	Uplinks     []Uplink
	Fallback    []netip.Addr
	Warnings    []string
}

// Leaving says how to leave.
type Leaving struct {
	Patience time.Duration
	Waiting  func(error)
	Off      func()
	Heard    bool
}

// RulesError is an error of the rules.
type RulesError struct{ Err error }

func (e RulesError) Error() string { return e.Err.Error() }
func (e RulesError) Unwrap() error { return e.Err }

// IsSteered reports whether DNS is steered to the address.
func (a Address) IsSteered() bool { return a.State == Settling || a.State == Steered }

// Equal reports whether two are the same.
func (c Config) Equal(other Config) bool { return reflect.DeepEqual(c, other) }
