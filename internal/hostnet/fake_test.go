// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/steering"
	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

// journal is what the fakes of a test did, in order.
type journal []string

func (j *journal) add(format string, args ...any) {
	if j != nil {
		*j = append(*j, fmt.Sprintf(format, args...))
	}
}

func (j journal) String() string { return strings.Join(j, "\n") }

type fakeFirewall struct {
	*journal
	err error
}

func (f *fakeFirewall) Set(s steering.Wanted) error     { f.add("steer %v", s.Steered); return f.err }
func (f *fakeFirewall) Intact(bool) (bool, error)       { return true, nil }
func (f *fakeFirewall) Owns(string, family.Family) bool { return false }
func (f *fakeFirewall) Remove() error                   { f.add("remove rules"); return nil }
func (f *fakeFirewall) String() string                  { return "fake rules" }

type fakeLink struct{ *journal }

func (l fakeLink) Set(addrs []netip.Addr, lease time.Duration) (bool, error) {
	l.add("addresses %v for %s", addrs, lease)
	return false, nil
}
func (l fakeLink) Index() int            { return 0 }
func (l fakeLink) OutlivesProcess() bool { return false }
func (l fakeLink) Yield() error          { l.add("yield"); return nil }
func (l fakeLink) Close() error          { l.add("remove link"); return nil }
func (l fakeLink) String() string        { return "fake link" }

func testConfig() Config {
	return Config{
		Interface: DefaultInterface, Link: TUN, Firewall: NFTables, Uplink: UplinkAuto,
		Addresses: nettest.Addrs("169.254.20.10 10.96.0.10 fd00::10 fd00:96::a"),
		Port:      53, HealthPort: 8080, Lease: 3 * time.Second,
		Fallback: nettest.Addrs("10.96.0.11 fd00:96::b"), FallbackZone: DefaultFallbackZone,
	}
}

// testBook has all addresses of testConfig standing.
func testBook() book { return have{}.target(Want{Config: testConfig()}, time.Now()) }

// quietly is for a Leave that need not be told of.
func quietly(patience time.Duration) Leaving {
	return Leaving{Patience: patience, Waiting: func(error) {}, Off: func() {}}
}

// steerTo has DNS steered to exactly addrs, and nothing else changed.
func steerTo(n *Network, addrs []netip.Addr) error {
	_, err := n.Apply(Want{Config: n.cfg, Steered: addrs})
	return err
}

// prepare makes the node ready for servers of another configuration.
func prepare(n *Network, cfg Config) error {
	_, err := n.Apply(Want{Config: cfg, Servers: ServersStarting})
	return err
}

// age has the addresses be in their states long enough to have settled.
func age(n *Network) {
	n.addrs = slices.Clone(n.addrs)
	for i := range n.addrs {
		n.addrs[i].Since = n.addrs[i].Since.Add(-settleTime)
	}
}

func wanted(steered string) steering.Wanted {
	return steering.Wanted{Addresses: nettest.Addrs("169.254.20.10 10.96.0.10 fd00::10"), Steered: nettest.Addrs(steered), Port: 53, HealthPort: 8080}
}
