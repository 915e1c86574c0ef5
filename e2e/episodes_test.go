// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/upstream"
)

// episode is one thing that happens to a cache. Its begin returns what ends it.
type episode struct {
	name  string
	gap   time.Duration // for how long a hit may have no answer because of it
	fresh time.Duration // the same of a new name, if that is longer
	only  lab.Backend   // prefix of the backends that it is for; empty: all
	needs []need
	takes need // what this one takes from the others until the round ends; empty: nothing
	begin func(t *testing.T, s *victim, draw *rand.Rand) (end func())
}

// need is what must not be in trouble at the same time.
type need string

// The needs of episodes.
const (
	goodUpstream need = "a good upstream"    // of a cache that starts without what the last one knew
	readLog      need = "a log that is read" // of a process that ends: the lab waits for its last line
)

// pods are what a pod does. The rates are for a program with the race detector in it, and two cores.
var pods = []episode{
	{name: "spoofed sources", begin: flood(func(uint64) client.Payload { return client.One(hotName, dns.TypeA) }, 100)},
	{name: "a hot name", begin: flood(func(uint64) client.Payload { return client.One(hotName, dns.TypeA) }, 0)},
	{name: "noise", begin: flood(client.Noise, 0)},
	{name: "two questions", begin: flood(func(uint64) client.Payload { return client.TwoQuestions(hotName) }, 0)},
	{name: "cut off", begin: flood(func(uint64) client.Payload { return client.Cut(hotName) }, 0)},
	{name: "1,400 octets", begin: flood(func(uint64) client.Payload { return client.Huge(hotName) }, 0)},
	{name: "malformed cookies", begin: flood(func(uint64) client.Payload { return client.Malformed(hotName) }, 0)},
	{name: "ANY", begin: flood(func(uint64) client.Payload { return client.One(hotName, dns.TypeANY) }, 0)},
	{name: "AXFR", begin: flood(func(uint64) client.Payload { return client.One("cluster.local.", dns.TypeAXFR) }, 0)},
	{name: "new names", begin: flood(func(seed uint64) client.Payload { return client.NewNames(seed, "wild.cluster.local.") }, 0)},
	{name: "silent names", begin: flood(func(seed uint64) client.Payload { return client.NewNames(seed, "slow.cluster.local.") }, 0)},
	{name: "idle connections", begin: crowd(client.Idle, 5, 50, 500)},
	{name: "dripping connections", begin: crowd(client.Dripping, 5, 50, 500)},
	{name: "connections that do not read", begin: crowd(client.Greedy, 1, 3, 10)},
	{name: "connections that are reset", begin: crowd(client.Hasty, 1, 3, 10)},
}

func flood(payload func(seed uint64) client.Payload, absent int) func(*testing.T, *victim, *rand.Rand) func() {
	return func(t *testing.T, s *victim, draw *rand.Rand) func() {
		target := dual[draw.IntN(len(dual))]
		f := client.Flood{From: s.lab.Pod, Target: target, Sources: client.Absent(podAddress(target), absent),
			Rate: []int{200, 1000, 5000}[draw.IntN(3)], Payload: payload(draw.Uint64())}
		if absent == 0 {
			f.Sources = append(f.Sources, podAddress(target))
		}
		t.Log(f)
		g := f.Start(t)
		return func() { g.Stop(t) }
	}
}

func crowd(manners client.Manners, sizes ...int) func(*testing.T, *victim, *rand.Rand) func() {
	return func(t *testing.T, s *victim, draw *rand.Rand) func() {
		c := client.Crowd{From: s.lab.Pod, Target: dual[draw.IntN(len(dual))], Size: sizes[draw.IntN(len(sizes))], Manners: manners}
		t.Logf("%d to %s", c.Size, c.Target)
		g := c.Start(t)
		return func() { g.Stop() }
	}
}

// upstreams are what the cluster DNS does: it is a server with a fault, alone or beside the good one. New names get no
// answer; a known name gets its old answer after 0.7 s.
var upstreams = badUpstreams()

func badUpstreams() (list []episode) {
	for _, fault := range upstream.Faults {
		list = append(list, episode{
			name: "upstream: " + string(fault), gap: time.Second, fresh: time.Minute, takes: goodUpstream,
			begin: func(t *testing.T, s *victim, draw *rand.Rand) func() { return s.misbehave(t, fault, draw.IntN(2) == 0) },
		})
	}
	return list
}

// misbehave gives new connections to the cluster DNS to a bad server. Those that there are end, since the node forgets them.
func (s *victim) misbehave(t *testing.T, fault upstream.Fault, alone bool) func() {
	t.Logf("alone: %t", alone)
	bad := upstream.StartBad(t, s.replica.Namespace, s.replica.IP, fault)
	if alone {
		s.lab.Endpoints(t, s.replica.IP)
	} else {
		s.lab.Endpoints(t, s.replica.IP, lab.DNSPodIP)
	}
	s.lab.Node.ForgetConntrack(t)
	return func() {
		s.lab.Endpoints(t, lab.DNSPodIP)
		bad.Stop()
		s.lab.Node.ForgetConntrack(t)
	}
}

func nothing() {}

// hosts are what the host and its operator do.
var hosts = []episode{
	{name: "nothing", begin: func(*testing.T, *victim, *rand.Rand) func() { return nothing }},
	{name: "damage", gap: 2 * time.Second, begin: damaged},
	{name: "reload", gap: time.Second, begin: func(t *testing.T, s *victim, _ *rand.Rand) func() {
		s.reloadWithin(t, 10*time.Second) // the last server waits for the answers that are still to come
		return nothing
	}},
	{name: "reload before the last one has ended", gap: time.Second, begin: func(t *testing.T, s *victim, draw *rand.Rand) func() {
		for range 5 {
			s.Signal(t, syscall.SIGUSR1)
			<-time.After(time.Duration(draw.IntN(300)) * time.Millisecond) // at any moment of it
		}
		return nothing
	}},
	// The kernel takes the addresses when the lease has run out, and the cluster DNS answers.
	{name: "stands still", gap: hangTimeout, begin: func(t *testing.T, s *victim, draw *rand.Rand) func() {
		s.Freeze(t)
		<-time.After(time.Duration(draw.IntN(2500)) * time.Millisecond)
		s.Signal(t, syscall.SIGCONT)
		return nothing
	}},
	{name: "nobody reads the log", needs: []need{readLog}, takes: readLog, begin: func(t *testing.T, s *victim, _ *rand.Rand) func() { return s.Ignore(t) }},
	{name: "the xtables lock is held", gap: time.Second, only: lab.IPTablesLegacy, begin: func(t *testing.T, s *victim, _ *rand.Rand) func() {
		return hold(t, s.lab)
	}},
	{name: "kill -9", gap: time.Second, fresh: 2 * time.Second, needs: []need{readLog}, begin: func(t *testing.T, s *victim, _ *rand.Rand) func() {
		s.kill(t)
		return func() { s.restart(t) }
	}},
	// What the last process knew is some days old by that clock, or not known yet.
	{name: "another monotonic clock", gap: time.Second, fresh: 2 * time.Second, needs: []need{readLog, goodUpstream}, begin: otherClock},
	{name: "SIGTERM", gap: time.Second, fresh: 2 * time.Second, needs: []need{readLog}, begin: func(t *testing.T, s *victim, _ *rand.Rand) func() {
		s.term(t)
		return func() { s.restart(t) }
	}},
	{name: "second instance", gap: time.Second, begin: func(t *testing.T, s *victim, _ *rand.Rand) func() {
		o := s.options
		o.metrics++
		second := start(t, s.lab, o)
		return func() { second.term(t) }
	}},
}

// restart starts the program anew. It has to look for trouble first: the output is another one from now on.
func (s *victim) restart(t *testing.T) {
	t.Helper()
	s.readable(t)
	s.checked = 0
	s.cache = s.again(t)
}

// damaged is one of the damages of TestRepair, some times in a row.
func damaged(t *testing.T, s *victim, draw *rand.Rand) func() {
	list := damages(s.options.firewall)
	d := list[draw.IntN(len(list))]
	t.Log(d.name)
	d.do(t, s.cache)
	return nothing
}

// otherClock starts the program in a time namespace whose monotonic clock is some days ahead, or the next time back again.
func otherClock(t *testing.T, s *victim, draw *rand.Rand) func() {
	s.kill(t)
	days := draw.IntN(10)
	t.Logf("%d days ahead", days)
	offset := fmt.Sprint(days * 24 * 3600)
	s.options.under = []string{harness.Which(t, "unshare"), "--time", "--monotonic", offset, "--boottime", offset}
	return func() { s.restart(t) }
}
