// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"net/netip"
	"time"

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
	leases         func([]netip.Addr) map[netip.Addr]time.Duration // hostnet.Leases
	isLocal        func(netip.Addr) bool                           // hostnet.IsLocal
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
	leases:         hostnet.Leases,
	isLocal:        hostnet.IsLocal,
}

// A NetworkError says that the node cannot have the network that the configuration asks for: another configuration with the
// same addresses would fail as well.
type NetworkError struct{ Err error }

// Error implements error.
func (e NetworkError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e NetworkError) Unwrap() error { return e.Err }

// Foresee makes the fallback table before a configuration is read. The table answers for the addresses of c that have nothing
// behind them, whatever fails later. Foresee keeps a dead instance's table that answers for these addresses. A configuration
// that owns nothing of the network removes the table. An error comes from nf_tables; a start that goes on reports the same
// error.
func Foresee(c hostnet.Config) error {
	n := theNode
	n.busy.lock()
	defer n.busy.unlock()
	addrs, err := n.host.foresee(c)
	if len(addrs) > 0 {
		n.foreseen = addrs
	}
	return err
}

// Abandon is Close for a start that has failed. The fallback table answers for the addresses of the stanza that was parsed
// last, if one was, and for those of Foresee.
func Abandon() error {
	n := theNode
	n.busy.lock()
	defer n.busy.unlock()
	if n.network != nil {
		return n.close()
	}
	addrs, err := n.fallbackOfStanza()
	if len(addrs) == 0 {
		addrs = n.foreseen
	}
	sayLeft(addrs)
	return err
}

// unforesee removes the table that foresee has made, for a configuration that wants none. An error is only logged: servers can
// serve beside the table.
func (n *node) unforesee() {
	if len(n.foreseen) == 0 {
		return
	}
	n.foreseen = nil
	if err := n.host.removeFallback(); err != nil {
		log.Errorf("%v", err)
	}
}

// parsed keeps the function that returns what the stanza just parsed says. The stanza's addresses may come from a directive of
// the same server block that is still to be parsed.
func (n *node) parsed(stanza func() (settings, error)) {
	n.busy.lock()
	defer n.busy.unlock()
	n.stanza = stanza
}

// Parsed returns what is wrong with the stanza that was parsed last, beside its server block; nil: nothing is, or none was parsed.
// A start finds the same fault when it begins to serve.
func Parsed() error {
	theNode.busy.lock()
	defer theNode.busy.unlock()
	if theNode.stanza == nil {
		return nil
	}
	_, err := theNode.stanza()
	return err
}

// fallbackOfStanza makes the fallback table that the stanza asks for, if there is one that can be read.
func (n *node) fallbackOfStanza() ([]netip.Addr, error) {
	if n.stanza == nil {
		return nil, nil
	}
	s, err := n.stanza()
	if err != nil || !s.Owns() {
		return nil, nil // the start has reported that error
	}
	return n.host.early(s.Config)
}
