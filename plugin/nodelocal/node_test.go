// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/test"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
)

// nothing owns nothing of the network.
func nothing() settings {
	s := settingsOf("10.0.0.1")
	s.Link, s.Firewall = hostnet.None, hostnet.None
	return s
}

// TestReload goes to a configuration with another address.
func TestReload(t *testing.T) {
	play(t, `
		500ms apply: configuration with [10.0.0.2 10.0.0.3]
		1s apply: steer [10.0.0.2 10.0.0.3]
		1s info: Steering on: 10.0.0.2 10.0.0.3 (fake link, fake rules)
		1s 10.0.0.1 parting, 10.0.0.2 steered, 10.0.0.3 settling
		1s apply: 10.0.0.1 leaves the link
		1s 10.0.0.2 steered, 10.0.0.3 settling
		4s apply: settle 10.0.0.3
		6s counted
		`, func(b *bench) {
		b.serve(both)
		b.must(b.n.take(restarts)())
		b.pass(500 * time.Millisecond)
		b.must(b.n.start(settingsOf("10.0.0.2 10.0.0.3")))
		b.pass(500 * time.Millisecond)
		b.note("%s", b.fake.show())
		b.must(b.n.take(ended)())
		b.pass(0)
		b.note("%s", b.fake.show())
		b.pass(5 * time.Second)
	})
}

// TestReloadSame changes nothing of the network.
func TestReloadSame(t *testing.T) {
	play(t, `
		2s counted
		`, func(b *bench) {
		b.serve(both)
		b.must(b.n.take(restarts)())
		b.pass(0)
		b.must(b.n.start(both))
		b.pass(0)
		b.must(b.n.take(ended)())
		b.pass(2 * time.Second)
		if !b.n.ready.Load() {
			t.Error("not ready")
		}
	})
}

// TestReloadFirewall takes steering off for another firewall.
func TestReloadFirewall(t *testing.T) {
	play(t, `
		0s apply: configuration with [10.0.0.1 10.0.0.2]
		0s apply: steering off, drained
		0s apply: steer [10.0.0.1 10.0.0.2]
		0s info: Steering on: 10.0.0.1 10.0.0.2 (fake link, fake rules)
		3s apply: settle 10.0.0.1
		3s apply: settle 10.0.0.2
		5s counted withdrawals reload: 1
		`, func(b *bench) {
		b.serve(both)
		s := both
		s.Firewall = hostnet.IPTables
		b.must(b.n.take(restarts)())
		b.pass(0)
		b.must(b.n.start(s))
		b.pass(0)
		b.must(b.n.take(ended)())
		b.pass(5 * time.Second)
	})
}

// TestReloadWaits has a reload wait for another instance.
func TestReloadWaits(t *testing.T) {
	play(t, `
		3s warning: Still waiting to change the node's network after 3s: another instance on this node is leaving: somebody holds it
		5s apply: configuration with [10.0.0.1]
		5s started
		5s apply: 10.0.0.2 leaves the link
		10s warning: Still waiting to change the node's network after 3s: another program holds the xtables lock
		11s apply: configuration with [10.0.0.1 10.0.0.2]
		11s apply: steer [10.0.0.1 10.0.0.2]
		11s info: Steering on: 10.0.0.1 10.0.0.2 (fake link, fake rules)
		11s started again
		16s warning: Still waiting to change the node's network after 3s: another instance on this node is leaving: somebody holds it
		23s not started
		23s counted setup_errors interface_add: 1
		`, func(b *bench) {
		b.serve(both)
		b.must(b.n.take(restarts)())
		b.pass(0)
		b.fail("apply", hostnet.ErrTurn, 5*time.Second)
		b.must(b.n.start(settingsOf("10.0.0.1")))
		b.pass(0)
		b.note("started")
		b.must(b.n.take(ended)())
		b.pass(2 * time.Second)
		b.must(b.n.take(restarts)())
		b.pass(0)
		b.fail("apply", hostnet.RulesError{Err: hostnet.ErrLocked}, 4*time.Second)
		b.must(b.n.start(both))
		b.pass(0)
		b.note("started again")
		b.must(b.n.take(ended)())
		b.pass(2 * time.Second)
		b.must(b.n.take(restarts)())
		b.pass(0)
		b.fail("apply", hostnet.ErrTurn, forever)
		if err := b.n.start(settingsOf("10.0.0.1")); !errors.Is(err, hostnet.ErrTurn) {
			t.Errorf("got %v", err)
		}
		b.pass(0)
		b.note("not started")
	})
}

// TestReloadForsaken reloads while the address is off the link and the rules cannot be changed.
func TestReloadForsaken(t *testing.T) {
	play(t, `
		2.5s apply: steering cannot be changed: another program holds the xtables lock
		2.5s apply: 10.0.0.1 leaves the link, rules stay
		2.5s error: another program holds the xtables lock
		2.5s warning: Steering off: 10.0.0.1: no answer to 3 self-queries in a row; the rules cannot be changed, so the address goes; the cluster DNS answers now
		3.5s apply: steering cannot be changed: another program holds the xtables lock
		4s apply: 10.0.0.1 comes back to the link
		4s 10.0.0.1 steered, 10.0.0.2 steered
		4.5s apply: steering cannot be changed: another program holds the xtables lock
		4.5s apply: 10.0.0.1 leaves the link, rules stay
		4.5s warning: Steering off: 10.0.0.1: no answer to 3 self-queries in a row; the rules cannot be changed, so the address goes; the cluster DNS answers now
		5s apply: steering cannot be changed: another program holds the xtables lock
		5s 10.0.0.1 forsaken, 10.0.0.2 steered
		5s counted setup_errors iptables_lock: 5, withdrawals self_query: 2
		`, func(b *bench) {
		b.serve(both)
		b.fail("apply", hostnet.ErrLocked, forever)
		b.hear(failed, one)
		b.pass(3 * time.Second)
		b.must(b.n.take(restarts)())
		b.pass(0)
		b.must(b.n.start(both))
		b.pass(0)
		b.note("%s", b.fake.show())
		b.must(b.n.take(ended)())
		b.pass(time.Second)
		b.note("%s", b.fake.show())
	})
}

// TestReloadAsleep reloads after the process has stood still for longer than the lease.
func TestReloadAsleep(t *testing.T) {
	play(t, `
		4s apply: steer []
		4s warning: Steering off: 10.0.0.1 10.0.0.2: the lease ran out, this process did not run for 4s; the cluster DNS answers now
		4s apply: steer [10.0.0.1 10.0.0.2]
		4s info: Steering on: 10.0.0.1 10.0.0.2 (fake link, fake rules)
		7s apply: settle 10.0.0.1
		7s apply: settle 10.0.0.2
		9s counted withdrawals lease: 1
		`, func(b *bench) {
		b.serve(both)
		b.do(func() { // with the node locked, so that no round comes first
			time.Sleep(4 * time.Second)
			b.must(b.n.own(both))
		})
		b.pass(5 * time.Second)
	})
}

// TestRefused has a reload fail before and after its configuration has started.
func TestRefused(t *testing.T) {
	play(t, `
		0s serving
		0s apply: configuration with [10.0.0.2 10.0.0.3]
		0s replacing
		0s apply: configuration with [10.0.0.1 10.0.0.2]
		0s apply: 10.0.0.3 leaves the link
		0s apply: steer [10.0.0.1 10.0.0.2]
		0s info: Steering on: 10.0.0.1 10.0.0.2 (fake link, fake rules)
		0s serving, 10.0.0.1 settling, 10.0.0.2 steered
		3s apply: settle 10.0.0.1
		5s 10.0.0.1 steered, 10.0.0.2 steered
		5s counted
		`, func(b *bench) {
		b.serve(both)
		b.must(b.n.take(restarts)())
		b.pass(0)
		b.must(b.n.restore(both))
		b.pass(0)
		b.note("%s", b.n.phase)
		b.must(b.n.take(restarts)())
		b.pass(0)
		b.must(b.n.start(settingsOf("10.0.0.2 10.0.0.3")))
		b.pass(0)
		b.note("%s", b.n.phase)
		b.must(b.n.restore(both))
		b.pass(0)
		b.note("%s, %s", b.n.phase, b.fake.show())
		b.pass(5 * time.Second)
		b.note("%s", b.fake.show())
	})
}

// TestRefusedTwice has the last configuration fail, too: the network is made anew.
func TestRefusedTwice(t *testing.T) {
	play(t, `
		0s warning: Setting up the node's network anew: going back to the last configuration: it is broken
		0s leave: steering off
		0s info: Steering off: shutting down
		0s leave: drained
		0s close
		0s error: no such device
		0s open: [10.0.0.1 10.0.0.2]
		0s apply: steer [10.0.0.1 10.0.0.2]
		0s info: Steering on: 10.0.0.1 10.0.0.2 (fake link, fake rules)
		0s serving
		2s counted setup_errors iptables: 2, withdrawals shutdown: 1
		`, func(b *bench) {
		b.serve(both)
		b.must(b.n.take(restarts)())
		b.pass(0)
		b.fail("apply", errBroken, forever)
		if err := b.n.start(settingsOf("10.0.0.3")); !errors.As(err, new(NetworkError)) {
			t.Errorf("got %v", err)
		}
		b.do(func() { b.fake.config.Port = 54 }) // halfway
		b.fail("close", errors.New("no such device"), forever)
		b.must(b.n.restore(both))
		b.pass(0)
		b.note("%s", b.n.phase)
		b.pass(2 * time.Second)
	})
}

// TestStanzaGoes reloads to a configuration without the plugin.
func TestStanzaGoes(t *testing.T) {
	play(t, `
		0s info: The configuration has no nodelocal any more: leaving the node's network
		0s leave: steering off
		0s info: Steering off: shutting down
		0s leave: drained
		0s close
		0s error: no such device
		0s idle
		0s counted withdrawals shutdown: 1
		`, func(b *bench) {
		b.serve(both)
		b.fail("close", errors.New("no such device"), forever)
		b.must(b.n.take(restarts)())
		b.pass(0)
		b.must(b.n.take(ended)())
		b.pass(0)
		b.note("%s", b.n.phase)
	})
}

// TestNothingOwned goes to a stanza that owns nothing, and back.
func TestNothingOwned(t *testing.T) {
	play(t, `
		0s leave: steering off
		0s info: Steering off: shutting down
		0s leave: drained
		0s close
		0s serving, ready true
		0s open: [10.0.0.1 10.0.0.2]
		0s apply: steer [10.0.0.1 10.0.0.2]
		0s info: Steering on: 10.0.0.1 10.0.0.2 (fake link, fake rules)
		1s leave: steering off
		1s info: Steering off: shutting down
		1s leave: drained
		1s close
		1s serving, ready true
		1s counted withdrawals shutdown: 2
		`, func(b *bench) {
		b.serve(both)
		b.must(b.n.take(restarts)())
		b.pass(0)
		b.must(b.n.start(nothing()))
		b.pass(0)
		b.must(b.n.take(ended)())
		b.pass(0)
		b.note("%s, ready %t", b.n.phase, b.n.ready.Load())
		b.must(b.n.take(restarts)())
		b.pass(0)
		b.must(b.n.start(both))
		b.pass(0)
		b.must(b.n.take(ended)())
		b.pass(time.Second)
		b.must(b.n.take(restarts)())
		b.pass(0)
		b.must(b.n.start(nothing()))
		b.pass(0)
		b.must(b.n.take(leaves)())
		b.must(b.n.take(ended)())
		b.pass(0)
		b.note("%s, ready %t", b.n.phase, b.n.ready.Load())
		b.must(Close())
	})
}

// TestShutdown ends the process in each phase.
func TestShutdown(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		until      func(b *bench)
	}{
		{"idle", `
			0s leave in phase idle
			0s idle, ready false
			2s open: [10.0.0.4]
			2s apply: steer [10.0.0.4]
			2s info: Steering on: 10.0.0.4 (fake link, fake rules)
			2s serving
			2s leave: steering off
			2s info: Steering off: shutting down
			2s leave: drained
			2s close
			2s idle
			4s counted withdrawals shutdown: 1
		`, func(*bench) {}},
		{"before the first answer", `
			0s open: [10.0.0.1]
			1s leave in phase serving
			1.5s leave: steering off
			1.5s leaving, ready false
			3.5s leaving
			3.5s close
			3.5s idle
			5.5s counted
		`, func(b *bench) {
			b.verdicts[one] = failed
			b.must(b.n.start(settingsOf("10.0.0.1")))
			b.pass(0)
			b.pass(time.Second)
		}},
		{"serving", `
			0s leave in phase serving
			0s leave: steering off
			0s info: Steering off: shutting down
			0s leave: drained
			0s leaving, ready false
			2s leaving
			2s close
			2s idle
			4s counted withdrawals shutdown: 1
		`, func(b *bench) { b.serve(both) }},
		{"deaf", `
			2.5s apply: steer []
			2.5s warning: Steering off: 10.0.0.1: no answer to 3 self-queries in a row; the cluster DNS answers now
			3.5s error: Steering stays off: the cache does not answer at 10.0.0.1
			4s leave in phase serving
			4.5s leave: steering off
			4.5s leave: drained
			4.5s leaving, ready false
			6.5s leaving
			6.5s close
			6.5s idle
			8.5s counted withdrawals self_query: 1
		`, func(b *bench) {
			b.serve(settingsOf("10.0.0.1"))
			b.hear(failed, one)
			b.pass(4 * time.Second)
		}},
		{"reloading", `
			0s leave in phase reloading
			0s leave: steering off
			0s info: Steering off: shutting down
			0s leave: drained
			0s leaving, ready false
			2s leaving
			2s close
			2s idle
			4s counted withdrawals shutdown: 1
		`, func(b *bench) { b.serve(both); b.must(b.n.take(restarts)()) }},
		{"replacing", `
			0s apply: configuration with [10.0.0.2]
			0s leave in phase replacing
			0s leave: steering off
			0s info: Steering off: shutting down
			0s leave: drained
			0s leaving, ready false
			2s leaving
			2s close
			2s idle
			4s counted withdrawals shutdown: 1
		`, func(b *bench) {
			b.serve(both)
			b.must(b.n.take(restarts)())
			b.pass(0)
			b.must(b.n.start(settingsOf("10.0.0.2")))
			b.pass(0)
		}},
		{"leaving", `
			0s leave: steering off
			0s info: Steering off: shutting down
			0s leave: drained
			0s leave in phase leaving
			0s leaving, ready false
			2s leaving
			2s close
			2s idle
			4s counted withdrawals shutdown: 1
		`, func(b *bench) { b.serve(both); b.must(b.n.take(leaves)()) }},
		{"locked", `
			0s leave in phase serving
			3s warning: Still waiting to take steering away after 3s: another program holds the xtables lock
			8s leave: steering off
			8s info: Steering off: shutting down
			8s leave: drained
			8s error: another program holds the xtables lock
			8s leaving, ready false
			10s leaving
			10s close
			10s idle
			12s counted withdrawals shutdown: 1
		`, func(b *bench) { b.serve(both); b.fail("leave", hostnet.ErrLocked, forever) }},
		{"turn awaited", `
			0s leave in phase serving
			3s warning: Still waiting to take steering away after 3s: another instance on this node is leaving: somebody holds it
			5s leave: steering off
			5s info: Steering off: shutting down
			5s leave: drained
			5s leaving, ready false
			7s leaving
			7s close
			7s idle
			9s counted withdrawals shutdown: 1
		`, func(b *bench) { b.serve(both); b.fail("leave", hostnet.ErrTurn, 5*time.Second) }},
		{"skip_teardown", `
			0s leave in phase serving
			0s info: Leaving rules and link in place (skip_teardown)
			0s leaving, ready false
			2s leaving
			2s close, rules and link stay
			2s info: Left on the node: the fallback table (nftables, nodelocaldns_fallback), which answers for 10.96.0.10 while no cache runs (nodelocaldns cleanup removes it)
			2s idle
			4s counted
		`, func(b *bench) {
			s := both
			s.SkipTeardown, s.Fallback = true, addrs("10.96.0.10")
			b.serve(s)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			play(t, tc.want, func(b *bench) {
				tc.until(b)
				b.note("leave in phase %s", b.n.phase)
				b.must(b.n.take(leaves)())
				b.note("%s, ready %t", b.n.phase, b.n.ready.Load())
				b.pass(2 * time.Second)
				b.must(b.n.start(settingsOf("10.0.0.4"))) // of a reload that comes too late
				b.must(b.n.take(ended)())
				b.pass(0)
				b.note("%s", b.n.phase)
				b.must(Close())
				b.must(Close())
				b.note("%s", b.n.phase)
				b.pass(2 * time.Second)
			})
		})
	}
}

// TestLeavingRenews has the link go after steering: it is put back while the servers still run.
func TestLeavingRenews(t *testing.T) {
	play(t, `
		0s leave: steering off
		0s info: Steering off: shutting down
		0s leave: drained
		1s warning: Link put back: something removed it (fake link, fake rules)
		6s counted repairs link: 1, withdrawals shutdown: 1
		`, func(b *bench) {
		b.serve(both)
		b.must(b.n.take(leaves)())
		b.pass(time.Second)
		b.do(func() { b.fake.linkGone = true })
		b.fake.events <- hostnet.Event{Gone: hostnet.LinkGone}
		b.pass(5 * time.Second)
		if age := time.Since(b.fake.renewed); age > interval {
			t.Errorf("the lease was last renewed %s ago", age)
		}
	})
}

// TestLateStart is a start after the end: the process goes on.
func TestLateStart(t *testing.T) {
	play(t, `
		0s counted withdrawals shutdown: 1
		`, func(b *bench) {
		b.serve(both)
		if last := lastRound.Load(); last == nil || !last.Equal(b.begun) {
			t.Errorf("the last round was at %v", last)
		}
		b.must(Close())
		if last := lastRound.Load(); last != nil {
			t.Errorf("there is nothing to supervise, and the last round was at %v", last)
		}
		b.serve(both)
	})
}

// TestOpenWaits has the lock held at the start.
func TestOpenWaits(t *testing.T) {
	play(t, `
		0s warning: Waiting to set up the node's network: another program holds the xtables lock
		100ms open: [10.0.0.1 10.0.0.2]
		100ms apply: steer [10.0.0.1 10.0.0.2]
		100ms info: Steering on: 10.0.0.1 10.0.0.2 (fake link, fake rules)
		1.1s counted setup_errors iptables_lock: 5
		`, func(b *bench) {
		b.openErr = failure{hostnet.ErrLocked, time.Now().Add(100 * time.Millisecond)}
		b.must(b.n.start(both))
		b.pass(time.Second)
	})
}

// TestOpenFails has the lock held for too long, and then another error.
func TestOpenFails(t *testing.T) {
	play(t, `
		0s warning: Waiting to set up the node's network: another program holds the xtables lock
		1m0s serving, guards 0
		1m0s counted setup_errors interface_add: 1, setup_errors iptables: 1, setup_errors iptables_lock: 3002
		`, func(b *bench) {
		b.openErr = failure{hostnet.RulesError{Err: hostnet.ErrLocked}, time.Now().Add(forever)}
		if err := b.n.start(both); !errors.Is(err, hostnet.ErrLocked) {
			t.Errorf("got %v", err)
		}
		b.openErr.err = errBroken
		if err := b.n.start(both); !errors.Is(err, errBroken) {
			t.Errorf("got %v", err)
		}
		b.openErr.err = errors.New("no such device")
		if err := b.n.start(both); !errors.As(err, new(NetworkError)) {
			t.Errorf("got %v", err)
		}
		b.note("%s, guards %d", b.n.phase, b.guards)
	})
}

// TestAbandonFake gives a start up with and without a network.
func TestAbandonFake(t *testing.T) {
	play(t, `
		0s fallback table for [10.96.0.10]
		0s info: Left on the node: the fallback table (nftables, nodelocaldns_fallback), which answers for 10.96.0.10 while no cache runs (nodelocaldns cleanup removes it)
		0s fallback table for [10.96.0.10]
		0s info: Left on the node: the fallback table (nftables, nodelocaldns_fallback), which answers for 10.96.0.10 while no cache runs (nodelocaldns cleanup removes it)
		0s fallback table removed
		0s fallback table for [10.96.0.10]
		0s fallback table removed
		0s error: no nf_tables
		0s open: [10.0.0.1 10.0.0.2]
		0s apply: steer [10.0.0.1 10.0.0.2]
		0s info: Steering on: 10.0.0.1 10.0.0.2 (fake link, fake rules)
		1s leave: steering off
		1s info: Steering off: shutting down
		1s leave: drained
		1s close
		1s info: Left on the node: the fallback table (nftables, nodelocaldns_fallback), which answers for 10.96.0.10 while no cache runs (nodelocaldns cleanup removes it)
		1s counted withdrawals shutdown: 1
		`, func(b *bench) {
		if Loops() != b.n.loops {
			t.Error("a channel of its own")
		}
		s := both
		s.Fallback = addrs("10.96.0.10")
		b.must(Abandon())
		b.must(Foresee(s.Config))
		b.must(Abandon())
		b.n.parsed(func() (settings, error) { return s, nil })
		b.must(Abandon())
		b.n.parsed(func() (settings, error) { return s, errors.New("not bound") })
		b.must(Abandon())
		b.must(b.n.start(nothing())) // takes away what was foreseen
		b.must(b.n.start(nothing()))
		b.pass(0)
		b.must(Foresee(s.Config))
		b.tableErr = errors.New("no nf_tables")
		b.must(b.n.start(nothing()))
		b.pass(0)
		b.must(b.n.start(s))
		b.pass(time.Second)
		b.must(Abandon())
		b.must(Close())
	})
}

// TestGuardOfPorts has another port come, and one that cannot be guarded.
func TestGuardOfPorts(t *testing.T) {
	play(t, `
		0s error: No bound on the TCP connections of a client: no /proc
		0s counted
		`, func(b *bench) {
		s := nothing()
		b.must(b.n.start(s))
		b.pass(0)
		stop := b.n.unguard
		s.Port = 54
		b.must(b.n.start(s))
		b.pass(0)
		if b.guards != 1 || b.n.guarded != 54 || stop == nil {
			t.Errorf("%d guards, the last one of port %d", b.guards, b.n.guarded)
		}
		s.Port = 0
		b.must(b.n.start(s))
		b.pass(0)
	})
}

// TestLoopFound has the cache's own probes come back.
func TestLoopFound(t *testing.T) {
	play(t, `
		0s leave: steering off
		0s info: Steering off: a loop
		0s leave: drained
		0s found: true
		2s counted withdrawals loop: 1
		`, func(b *bench) {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		s := settingsOf("127.0.0.1")
		s.Port, s.loopZones = pc.LocalAddr().(*net.UDPAddr).AddrPort().Port(), []string{"."}
		b.n.loops = make(chan error, 1)
		next, blocked := make(chan *dns.Msg, 1), make(chan struct{})
		defer close(blocked)
		h := &Nodelocal{node: b.n, Next: plugin.HandlerFunc(func(_ context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
			next <- r
			<-blocked // an upstream that does not answer
			return dns.RcodeSuccess, nil
		})}
		if h.Ready() {
			t.Error("ready before the start")
		}
		b.serve(s)
		if !h.Ready() {
			t.Error("not ready")
		}
		octets := make([]byte, 512)
		n, _, err := pc.ReadFrom(octets)
		probe := new(dns.Msg)
		if err := errors.Join(err, probe.Unpack(octets[:n])); err != nil {
			t.Fatal(err)
		}
		// The server does not wait for the upstream of a probe.
		if rcode, err := h.ServeDNS(t.Context(), &test.ResponseWriter{RemoteIP: "127.0.0.1"}, probe); rcode != dns.RcodeSuccess || err != nil {
			t.Errorf("%d, %v", rcode, err)
		}
		if r := <-next; r == probe || r.Question[0] != probe.Question[0] {
			t.Errorf("the upstream is asked %s", r)
		}
		if own, tooOften := b.n.loopCheck.Load().Note(&net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, probe); !own || tooOften {
			t.Errorf("own %t, found %t", own, tooOften)
		}
		rcode, err := h.ServeDNS(t.Context(), &test.ResponseWriter{RemoteIP: "127.0.0.1"}, probe)
		if rcode != dns.RcodeRefused || err != nil {
			t.Errorf("%d, %v", rcode, err)
		}
		synctest.Wait()
		b.note("found: %t", len(b.n.loops) == 1)
		b.pass(2 * time.Second)
	})
}
