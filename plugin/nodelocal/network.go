// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"net/netip"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	"github.com/nodelocaldns/nodelocaldns/plugin/nodelocal/internal/guard"
)

// A network is the node's network as this plugin uses it; *hostnet.Network is one. Its methods are called with the node locked.
type network interface {
	// Apply makes the node what want says. The Change is valid with an error, too. After ErrTurn or ErrLocked try again.
	Apply(want hostnet.Want) (hostnet.Change, error)
	// Renew renews the lease of the link's addresses. It reports whether the link had gone and is back.
	Renew() (repaired bool, err error)
	// Check looks whether another program changed what is ours, and puts it back. A thorough look may start processes.
	Check(thorough bool) (hostnet.Findings, error)
	// Status returns a snapshot without a system call, also after Close. Each warning is in one snapshot only.
	Status() hostnet.Status
	// Events returns a channel that tells when a link or an address has gone.
	Events() <-chan hostnet.Event
	// Leave takes steering off for good, and waits until the queries that have arrived are read.
	Leave(how hostnet.Leaving) error
	// Close takes away the rest; keep leaves rules, and a link that outlives this process.
	Close(keep bool) error
}

// A host is what this plugin needs of the machine besides a network that is open.
type host struct {
	open           func(hostnet.Config) (network, error)      // hostnet.Open; no network with an error
	early          func(hostnet.Config) ([]netip.Addr, error) // hostnet.EarlyFallback
	foresee        func(hostnet.Config) ([]netip.Addr, error) // hostnet.ForeseenFallback
	removeFallback func() error
	turnHolder     func() string // who keeps the right to change rules; a look into /proc
	ask            func(addrs []netip.Addr, port uint16, zone, token string) []verdict
	guard          func(port uint16) (stop func(), err error)
}

// thisHost is the machine that this process runs on.
var thisHost = host{
	open:           func(c hostnet.Config) (network, error) { return hostnet.Open(c) },
	early:          hostnet.EarlyFallback,
	foresee:        hostnet.ForeseenFallback,
	removeFallback: hostnet.RemoveFallback,
	turnHolder:     hostnet.TurnHolder,
	ask:            ask,
	guard:          func(port uint16) (func(), error) { return guard.Start(port, connectionsClosed) },
}
