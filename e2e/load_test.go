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

// progress waits until each probe has n more answers.
func progress(t testing.TB, loads []*client.Load, n int) {
	t.Helper()
	want := make([]int, len(loads))
	for i, l := range loads {
		want[i] = l.SoFar().Answered() + n
	}
	for i, l := range loads {
		harness.Until(t, either(10*time.Second, 30*time.Second), fmt.Sprintf("%d more answers to %s", n, l), func() error {
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
