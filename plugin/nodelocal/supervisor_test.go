// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"errors"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
)

var errBroken = hostnet.RulesError{Err: errors.New("it is broken")}

// TestFirstAnswers has the servers begin to answer at one address after the other.
func TestFirstAnswers(t *testing.T) {
	play(t, `
		0s open: [10.0.0.1 10.0.0.2]
		3s apply: steer [10.0.0.2]
		3s info: Steering: 10.0.0.2 on, 10.0.0.1 off (fake link, fake rules)
		6s apply: settle 10.0.0.2
		6s error: Steering stays off: the cache does not answer at 10.0.0.1
		9.5s apply: steer [10.0.0.1 10.0.0.2]
		9.5s info: Steering on: 10.0.0.1 10.0.0.2 (fake link, fake rules)
		12.5s apply: settle 10.0.0.1
		14s counted
		`, func(b *bench) {
		b.verdicts[one], b.verdicts[two] = failed, failed
		b.must(b.n.start(both))
		b.pass(2 * time.Second)
		b.hear(answered, two)
		b.pass(2 * time.Second)
		if b.n.ready.Load() {
			t.Error("ready, and one address is not steered")
		}
		b.pass(4 * time.Second)
		b.hear(answered, one)
		b.pass(5 * time.Second)
		if !b.n.ready.Load() {
			t.Error("not ready")
		}
	})
}

// TestDeafAddress has one address stop answering, and answer again.
func TestDeafAddress(t *testing.T) {
	play(t, `
		2.5s apply: steer [10.0.0.2]
		2.5s warning: Steering off: 10.0.0.1: no answer to 3 self-queries in a row; the cluster DNS answers now
		2.5s info: Steering: 10.0.0.2 on, 10.0.0.1 off (fake link, fake rules)
		3s error: Steering stays off: the cache does not answer at 10.0.0.1
		4s apply: steer [10.0.0.1 10.0.0.2]
		4s info: Steering on: 10.0.0.1 10.0.0.2 (fake link, fake rules)
		6.5s apply: steer [10.0.0.2]
		6.5s warning: Steering off: 10.0.0.1: no answer to 3 self-queries in a row; the cluster DNS answers now
		6.5s info: Steering: 10.0.0.2 on, 10.0.0.1 off (fake link, fake rules)
		7.5s error: Steering stays off: the cache does not answer at 10.0.0.1
		12s apply: steer [10.0.0.1 10.0.0.2]
		12s info: Steering on: 10.0.0.1 10.0.0.2 (fake link, fake rules)
		15s apply: settle 10.0.0.1
		16.5s counted withdrawals self_query: 2
		`, func(b *bench) {
		b.serve(both)
		b.hear(failed, one)
		b.pass(2 * time.Second)
		b.hear(answered, one)
		b.pass(2 * time.Second) // two failures are not enough
		b.hear(failed, one)
		b.pass(6 * time.Second)
		b.hear(answered, one)
		b.pass(6 * time.Second)
	})
}

// TestNoDescriptors has the self-queries go unasked for long.
func TestNoDescriptors(t *testing.T) {
	play(t, `
		12s apply: steer []
		12s warning: Steering off: 10.0.0.1 10.0.0.2: no answer to 3 self-queries in a row; the cluster DNS answers now
		13s error: Steering stays off: the cache does not answer at 10.0.0.1 10.0.0.2
		15s counted withdrawals self_query: 1
		`, func(b *bench) {
		b.serve(both)
		b.hear(unasked, one, two)
		b.pass(15 * time.Second)
	})
}

// TestWake has this process stand still for less than the lease, and for longer.
func TestWake(t *testing.T) {
	play(t, `
		3s stands still
		7s apply: steer []
		7s warning: Steering off: 10.0.0.1 10.0.0.2: the lease ran out, this process did not run for 4s; the cluster DNS answers now
		8.5s apply: steer [10.0.0.1 10.0.0.2]
		8.5s info: Steering on: 10.0.0.1 10.0.0.2 (fake link, fake rules)
		11.5s apply: settle 10.0.0.1
		11.5s apply: settle 10.0.0.2
		14.5s counted withdrawals lease: 1
		`, func(b *bench) {
		b.serve(both)
		b.do(func() { time.Sleep(2 * time.Second) })
		b.pass(time.Second)
		b.note("stands still")
		b.do(func() {
			b.verdicts[one], b.verdicts[two] = failed, failed // the sockets are full of old queries
			time.Sleep(4 * time.Second)
		})
		b.pass(time.Second)
		b.hear(answered, one, two)
		b.pass(6 * time.Second)
	})
}

// TestWakeLocked is TestWake while the rules cannot be changed.
func TestWakeLocked(t *testing.T) {
	play(t, `
		4s apply: steering cannot be changed: another program holds the xtables lock
		4s apply: 10.0.0.1 leaves the link, rules stay
		4s apply: 10.0.0.2 leaves the link, rules stay
		4s error: another program holds the xtables lock
		4s warning: Steering off: 10.0.0.1 10.0.0.2: the lease ran out, this process did not run for 4s; the rules cannot be changed, so the address goes; the cluster DNS answers now
		4.5s apply: steering cannot be changed: another program holds the xtables lock
		6s apply: steer []
		6s info: Resolved: the trouble with rules
		6s apply: steer [10.0.0.1 10.0.0.2]
		6s info: Steering on: 10.0.0.1 10.0.0.2 (fake link, fake rules)
		9s apply: settle 10.0.0.1
		9s apply: settle 10.0.0.2
		12s counted setup_errors iptables_lock: 4, withdrawals lease: 1
		`, func(b *bench) {
		b.serve(both)
		b.fail("apply", hostnet.ErrLocked, 6*time.Second)
		b.do(func() { time.Sleep(4 * time.Second) })
		b.pass(8 * time.Second)
	})
}

// TestWithoutLease has nothing that runs out.
func TestWithoutLease(t *testing.T) {
	play(t, `
		1m2s counted
		`, func(b *bench) {
		s := both
		s.Lease = 0
		b.serve(s)
		b.do(func() { time.Sleep(time.Minute) })
		b.pass(2 * time.Second)
	})
}

// TestLocked has another program hold the xtables lock when an address has to go.
func TestLocked(t *testing.T) {
	play(t, `
		2.5s apply: steering cannot be changed: another program holds the xtables lock
		2.5s apply: 10.0.0.1 leaves the link, rules stay
		2.5s error: another program holds the xtables lock
		2.5s warning: Steering off: 10.0.0.1: no answer to 3 self-queries in a row; the rules cannot be changed, so the address goes; the cluster DNS answers now
		3s 10.0.0.1 forsaken, 10.0.0.2 steered
		3.5s apply: steering cannot be changed: another program holds the xtables lock
		4.5s apply: steer [10.0.0.2]
		4.5s info: Resolved: the trouble with rules
		4.5s info: Steering: 10.0.0.2 on, 10.0.0.1 off (fake link, fake rules)
		5.5s error: Steering stays off: the cache does not answer at 10.0.0.1
		8s apply: steer [10.0.0.1 10.0.0.2]
		8s info: Steering on: 10.0.0.1 10.0.0.2 (fake link, fake rules)
		11s apply: settle 10.0.0.1
		12.5s 10.0.0.1 steered, 10.0.0.2 steered
		12.5s counted setup_errors iptables_lock: 2, withdrawals self_query: 1
		`, func(b *bench) {
		b.serve(both)
		b.fail("apply", hostnet.ErrLocked, 4*time.Second)
		b.hear(failed, one)
		b.pass(3 * time.Second)
		b.note("%s", b.fake.show())
		b.pass(3 * time.Second)
		b.hear(answered, one)
		b.pass(6 * time.Second)
		b.note("%s", b.fake.show())
	})
}

// TestSettlingLocked has another program hold the lock when an address is to settle.
func TestSettlingLocked(t *testing.T) {
	play(t, `
		0s open: [10.0.0.1 10.0.0.2]
		0s apply: steer [10.0.0.1 10.0.0.2]
		0s info: Steering on: 10.0.0.1 10.0.0.2 (fake link, fake rules)
		3s error: it is broken
		5s apply: settle 10.0.0.1
		5s apply: settle 10.0.0.2
		5s info: Resolved: the trouble with rules
		7s counted setup_errors iptables: 2
		`, func(b *bench) {
		b.must(b.n.start(both))
		b.pass(time.Second)
		b.fail("apply", errBroken, 4*time.Second)
		b.pass(6 * time.Second)
	})
}

// TestTurnAwaited has another instance keep the right to change rules.
func TestTurnAwaited(t *testing.T) {
	play(t, `
		0s open: [10.0.0.1 10.0.0.2]
		0s apply: steering cannot be changed: another instance on this node is leaving
		3.02s error: Rules could not be changed for 3s: another instance on this node is leaving: somebody holds it
		3.04s apply: steering cannot be changed: another instance on this node is leaving
		5s apply: steer [10.0.0.1 10.0.0.2]
		5s info: Steering on: 10.0.0.1 10.0.0.2 (fake link, fake rules)
		7s info: Resolved: the trouble with the right to change rules
		8s apply: settle 10.0.0.1
		8s apply: settle 10.0.0.2
		10s counted setup_errors turn: 101
		`, func(b *bench) {
		b.fails = map[string]failure{"apply": {hostnet.ErrTurn, time.Now().Add(5 * time.Second)}}
		b.must(b.n.start(both))
		b.pass(6 * time.Second)
		b.do(func() { b.fake.awaited = time.Time{} })
		b.pass(4 * time.Second)
	})
}

// TestLinkGone has another program take away the link, an address, and the right to put them back.
func TestLinkGone(t *testing.T) {
	play(t, `
		0s warning: Link put back: something removed it (fake link, fake rules)
		100ms warning: Address put back: 10.0.0.1 had been removed, or not been renewed in time (fake link, fake rules)
		300ms error: no such device
		2.3s info: Resolved: the trouble with lease
		3.3s counted lease_failures: 2, repairs address: 1, repairs link: 1, setup_errors interface_check: 2
		`, func(b *bench) {
		b.serve(both)
		b.do(func() { b.fake.linkGone = true })
		b.fake.events <- hostnet.Event{Gone: hostnet.LinkGone}
		b.pass(100 * time.Millisecond)
		b.fake.events <- hostnet.Event{Gone: hostnet.AddressGone, Address: one}
		b.pass(100 * time.Millisecond)
		b.fake.events <- hostnet.Event{Gone: hostnet.PeerGone}
		b.pass(100 * time.Millisecond)
		b.fail("renew", errors.New("no such device"), 2*time.Second)
		synced := *lastSync.Load()
		b.fake.events <- hostnet.Event{Gone: hostnet.AddressGone, Address: one}
		b.pass(time.Second)
		if !lastSync.Load().Equal(synced) {
			t.Error("all is said to be right while the lease cannot be renewed")
		}
		b.pass(2 * time.Second)
		if !lastSync.Load().After(synced) {
			t.Error("all is right again, and nothing says so")
		}
	})
}

// TestRulesChanged has another program change the rules: they can be put back, then not.
func TestRulesChanged(t *testing.T) {
	play(t, `
		1s check: put back [rules fallback]
		1s warning: Put back what something removed or changed: chains NODELOCALDNS-*, table nodelocaldns_fallback (fake link, fake rules)
		3s error: it is broken
		4s info: Resolved: the trouble with rules
		4s check: put back [rules]
		4s warning: Put back what something removed or changed: chains NODELOCALDNS-* (fake link, fake rules)
		6s error: another program holds the xtables lock
		7s info: Resolved: the trouble with rules
		8s counted repairs fallback: 1, repairs rules: 2, setup_errors iptables: 1, setup_errors iptables_lock: 1
		`, func(b *bench) {
		b.serve(both)
		b.do(func() { b.fake.broken = []string{"rules", "fallback"} })
		b.pass(2 * time.Second)
		b.fail("repair", errBroken, 2*time.Second)
		b.do(func() { b.fake.broken = []string{"rules"} })
		b.pass(time.Second)
		if got := belief.Load().steered; len(got) != 0 {
			t.Errorf("rules are missing, and %v is said to be steered", got)
		}
		b.pass(2 * time.Second)
		if got := belief.Load().steered; len(got) != 2 {
			t.Errorf("only %v is said to be steered", got)
		}
		b.fail("look", hostnet.ErrLocked, 2*time.Second)
		b.pass(3 * time.Second)
	})
}

// TestPeer has another instance come, change the rules, and go.
func TestPeer(t *testing.T) {
	play(t, `
		1s info: Another instance runs on this node: udp 127.53.0.2:60 is held by pid 7
		26s check: put back [rules]
		26s info: Put back what another instance changed: chains NODELOCALDNS-* (fake link, fake rules)
		1m2s the peer leaves
		1m3s check: put back [rules]
		1m3s info: Put back what another instance changed: chains NODELOCALDNS-* (fake link, fake rules)
		1m5s check: put back [rules]
		1m5s warning: Put back what something removed or changed: chains NODELOCALDNS-* (fake link, fake rules)
		1m6s counted repairs rules: 1
		`, func(b *bench) {
		b.serve(both)
		b.do(func() { b.fake.peers = "udp 127.53.0.2:60 is held by pid 7" })
		b.pass(2 * time.Second)
		b.do(func() { b.fake.broken = []string{"rules"} })
		b.pass(time.Minute) // until a thorough look
		b.note("the peer leaves")
		b.do(func() { b.fake.peers, b.fake.broken = "", []string{"rules"} })
		b.pass(2 * time.Second)
		b.do(func() { b.fake.broken = []string{"rules"} })
		b.pass(2 * time.Second)
	})
}

// TestJoining starts beside an instance that answers at both addresses: this one adds none before it answers at all of them.
func TestJoining(t *testing.T) {
	play(t, `
		0s open: [10.0.0.1 10.0.0.2]
		2.02s apply: steer [10.0.0.1 10.0.0.2]
		2.02s info: Steering on: 10.0.0.1 10.0.0.2 (fake link, fake rules)
		5.02s apply: settle 10.0.0.1
		5.02s apply: settle 10.0.0.2
		7s counted
		`, func(b *bench) {
		b.verdicts[one], b.verdicts[two] = answered, foreign
		b.must(b.n.start(both))
		b.pass(2 * time.Second)
		b.hear(answered, two)
		b.pass(5 * time.Second)
	})
}

// TestWarnings has the network warn, and find other uplinks.
func TestWarnings(t *testing.T) {
	play(t, `
		1s warning: Something is odd
		1s info: DNS from outside is left to the host's firewall at the interface of the default route: eth0
		1s warning: DNS is accepted at the interface of the default route, since pods may come in there: br0 (it is of type bridge); hosts outside may ask the cache, too
		4s info: DNS from outside is left to the host's firewall at the interface of the default route: there is none
		4s warning: DNS is accepted at the interface of the default route, since pods may come in there: there is none any more; hosts outside may ask the cache, too
		6s counted
		`, func(b *bench) {
		b.serve(both)
		b.do(func() {
			b.fake.warnings = []string{"Something is odd"}
			b.fake.uplinks = []hostnet.Uplink{{Name: "eth0"}, {Name: "br0", Pods: "it is of type bridge"}}
		})
		b.pass(3 * time.Second)
		b.do(func() { b.fake.uplinks = nil })
		b.pass(3 * time.Second)
	})
}

// TestLongRound has a round take longer than the log waits, twice.
func TestLongRound(t *testing.T) {
	play(t, `
		4s info: A look at link and rules takes longer than 3s: iptables, or this machine, is slow; the addresses' lease is renewed meanwhile
		25s counted
		`, func(b *bench) {
		s := both
		s.Lease = 0
		b.serve(s)
		b.do(func() { b.fake.takes = waitPatience + time.Second })
		b.pass(20 * time.Second)
		b.do(func() { b.fake.takes = 0 })
		b.pass(4 * time.Second)
	})
}
