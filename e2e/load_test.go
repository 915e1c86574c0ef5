// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/upstream"
)

// emulated says that the machine is in software emulation: it has the power for a tenth of the queries, in one family.
var emulated = os.Getenv("NODELOCALDNS_EMULATED") != ""

// either is the first of two on a host's own kernel, and the second in software emulation.
func either[T any](native, inEmulation T) T {
	if emulated {
		return inEmulation
	}
	return native
}

// interval is the time between two queries of a client.
var interval = either(50*time.Millisecond, 500*time.Millisecond)

// patience is how long a client waits for an answer: in software emulation as long as a C library does.
var patience = either(2*time.Second, 5*time.Second)

// clients are probes of an address from pod and host: stub resolvers with a socket for each query over both protocols, and
// programs that keep one UDP socket. Each asks 20 times a second for names of its own.
//
// The host's long-lived socket is not connected; TestKillConnected is about one that is.
func clients(l *lab.Lab, addrs ...netip.Addr) []client.Probe {
	var probes []client.Probe
	for i, a := range addrs {
		for j, p := range []client.Probe{
			{From: l.Pod, Socket: client.Fresh},
			{From: l.Pod, Socket: client.Long},
			{From: l.Pod, Socket: client.Fresh, TCP: true},
			{From: l.Node, Socket: client.Fresh},
			{From: l.Node, Socket: client.Unconnected},
			{From: l.Node, Socket: client.Fresh, TCP: true},
		} {
			p.Target, p.Interval, p.Timeout, p.Name = a, interval, patience, client.Unique(fmt.Sprintf("c%d-%d", i, j))
			probes = append(probes, p)
		}
	}
	return probes
}

// progress waits until each probe has n more answers: three times as long as they take on an idle machine, and some time.
func progress(t testing.TB, loads []*client.Load, n int) {
	t.Helper()
	want := make([]int, len(loads))
	for i, l := range loads {
		want[i] = l.SoFar().Answered() + n
	}
	for i, l := range loads {
		limit := either(10*time.Second, 30*time.Second) + l.Timeout + 3*time.Duration(n)*l.Interval
		harness.Until(t, limit, fmt.Sprintf("%d more answers to %s", n, l), func() error {
			if r := l.SoFar(); r.Answered() < want[i] {
				return fmt.Errorf("%s", r)
			}
			return nil
		})
	}
}

// stop ends the probes and says if the machine had no time for them.
func stop(t testing.TB, loads []*client.Load) []client.Report {
	t.Helper()
	reports := client.StopAll(loads)
	for _, r := range reports {
		if r.Stall > 500*time.Millisecond {
			t.Logf("the machine was too busy for the measurement: %s stood still for %s", r.Probe, r.Stall)
			break
		}
	}
	return reports
}

// stallOf is the longest time for which one of the probes stood still.
func stallOf(reports []client.Report) (stall time.Duration) {
	for _, r := range reports {
		stall = max(stall, r.Stall)
	}
	return stall
}

// inTime checks that something took no longer than is promised, and than the probes stood still meanwhile.
func inTime(t testing.TB, what string, took, promised time.Duration, reports []client.Report) {
	t.Helper()
	if stall := stallOf(reports); took > promised+stall {
		t.Errorf("%s took %s, want %s at most, and the machine stood still for %s", what, took.Round(time.Millisecond), promised, stall.Round(time.Millisecond))
		return
	}
	t.Logf("%s took %s", what, took.Round(time.Millisecond))
}

func clock(t time.Time) string { return t.Format("15:04:05.000") }

// noFailure reports each probe with a failed query.
func noFailure(t testing.TB, reports []client.Report) {
	t.Helper()
	for _, r := range reports {
		if len(r.Failures) > 0 {
			t.Error(r)
		}
	}
}

// sources counts the queries for a probe's names that the cluster DNS saw from the cache and those that it saw from the
// clients themselves. Only UDP probes can be told apart: the cache asks over TCP.
func sources(seen []upstream.Seen) (cache, direct int) {
	for _, s := range seen {
		if s.Proto == "tcp" {
			cache++
		} else {
			direct++
		}
	}
	return cache, direct
}

// askedAt returns what a server's list has of a name that the server has answered. The line of its log comes after the answer, so askedAt
// waits for a moment.
func askedAt(s *upstream.Server, name string) []upstream.Seen {
	for begin := time.Now(); time.Since(begin) < time.Second; time.Sleep(5 * time.Millisecond) {
		if seen := s.Seen(name); len(seen) > 0 {
			return seen
		}
	}
	return nil
}

// waitSources waits until the cluster DNS's list has that many queries for a probe's names from the cache, and from the clients
// themselves. It returns how many there are.
func waitSources(t testing.TB, s *upstream.Server, name string, leastCache, leastDirect int) (cache, direct int) {
	t.Helper()
	harness.Until(t, 10*time.Second, "list of the cluster DNS", func() error {
		if cache, direct = sources(s.Seen(name)); cache < leastCache || direct < leastDirect {
			return fmt.Errorf("asked %d times by the cache and %d times by the pod, want %d and %d at least", cache, direct, leastCache, leastDirect)
		}
		return nil
	})
	return cache, direct
}
