// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

// busiest is what "nodelocaldns top -o json" prints.
type busiest struct {
	Seconds float64
	Queries uint64
	Clients []struct {
		Address                   netip.Addr
		Queries, Misses, NXDomain uint64
		Name                      string
	}
	Names []struct {
		Name    string
		Queries uint64
	}
}

const (
	// foundWithin is when the client that floods is to be named, and forgottenWithin when nothing is said of it any more after its end.
	foundWithin, forgottenWithin = 10 * time.Second, 12 * time.Second
	// topFlood is how long the flood lasts.
	topFlood = 15 * time.Second
)

// top runs the command.
func (c *cache) top(t *testing.T, state string) (b busiest) {
	t.Helper()
	var line string
	p := process.Start(t, c.lab.Node, process.Command{
		Path: harness.NodeLocalDNS(t), Args: []string{"top", "-once", "-o", "json", "-statedir", state}, Env: c.environment(),
		Line: func(s string) bool { line = s; return true }, // out of the log of a test that fails
	})
	if code := p.Wait(t, 10*time.Second); code != 0 {
		t.Fatalf("exit code %d: %s", code, p.Output())
	}
	if err := json.Unmarshal([]byte(line), &b); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	return b
}

// TestTop has one pod of five ask for 50,000 random names a second that do not exist, or as many as the machine lets it. top names it
// first, and forgets it after its end.
func TestTop(t *testing.T) {
	l, state := lab.New(t, lab.IPTablesNFT), harness.Dir(t)+"/state"
	c := start(t, l, options{firewall: lab.IPTablesNFT, base: string(corefiles.Kubernetes), args: []string{"-statedir", state}})
	var probes []client.Probe
	for i := range 4 {
		pod := l.NewPod(t, fmt.Sprintf("other%d", i), byte(20+i))
		probes = append(probes, ordinary(pod, i)...)
	}
	loads := client.StartAll(t, probes...)
	progress(t, loads, 12) // six seconds of the slowest
	before := c.top(t, state)
	t.Logf("before: %s", describe(before, client.StopAll(loads)))
	if len(before.Clients) != 4 || before.Clients[0].Name != "popular.wild.cluster.local." {
		t.Errorf("before: %+v", before)
	}

	loads = client.StartAll(t, probes...)
	flood := client.Flood{From: l.Pod, Target: lab.ClusterIP, Sources: []netip.Addr{lab.PodIP}, Rate: 50000, Payload: client.NewNames(1, "none.cluster.local.")}
	begin, flooding := time.Now(), flood.Start(t)
	var during busiest
	found := harness.Until(t, 3*foundWithin, "name of the flood", func() error {
		if during = c.top(t, state); len(during.Clients) == 0 || during.Clients[0].Address != lab.PodIP {
			return fmt.Errorf("%+v", during.Clients)
		}
		return nil
	})
	<-time.After(topFlood - time.Since(begin)) // the rest of the flood
	during = c.top(t, state)
	sent, took := flooding.Stop(t), time.Since(begin)
	ended := time.Now()
	t.Logf("found after %s; %d names in %s; the process: %s", found.Round(time.Millisecond), sent, took.Round(time.Millisecond), c.Needs(c.page))
	reports := client.StopAll(loads)
	inTime(t, "the naming of the flood", found, foundWithin, reports)
	t.Logf("during: %s", describe(during, reports))
	if len(during.Clients) == 0 {
		t.Fatal("nobody was named")
	}
	if first := during.Clients[0]; first.Address != lab.PodIP || first.NXDomain < first.Queries/10 || first.Misses < first.Queries*9/10 {
		t.Errorf("first is %+v", first)
	}
	var named time.Duration // after the end of the flood, at the begin of the last question whose answer names it
	harness.Until(t, 3*forgottenWithin, "list without the flood", func() error {
		<-time.After(500 * time.Millisecond) // between two questions
		asked := time.Since(ended)
		if b := c.top(t, state); len(b.Clients) > 0 && b.Clients[0].Address == lab.PodIP {
			named = asked
			return fmt.Errorf("%+v", b.Clients[0])
		}
		return nil
	})
	inTime(t, "forgetting the flood", named, forgottenWithin, nil)
}

// ordinary is what a pod asks for: a name that all ask for, ten of its own, and, seldom, a new one.
func ordinary(pod *netns.Namespace, i int) []client.Probe {
	own := func(n int) string { return fmt.Sprintf("own%d-%d.wild.cluster.local.", i, n%10) }
	return []client.Probe{
		{From: pod, Target: lab.ClusterIP, Timeout: patience, Interval: 20 * time.Millisecond, Name: client.Always("popular.wild.cluster.local.")},
		{From: pod, Target: lab.ClusterIP, Timeout: patience, Name: own},
		{From: pod, Target: lab.ClusterIP, Timeout: patience, Interval: 500 * time.Millisecond, Name: client.Unique(fmt.Sprintf("top%d", i))},
	}
}

// describe has a line for each client but the flooding one, whose share is given, and the fate of their queries.
func describe(b busiest, reports []client.Report) string {
	line := fmt.Sprintf("%d queries in %.1f s", b.Queries, b.Seconds)
	for _, c := range b.Clients {
		line += fmt.Sprintf("\n    %s: %d queries, %d misses, %d NXDOMAIN, %s", c.Address, c.Queries, c.Misses, c.NXDomain, c.Name)
	}
	for i, kind := range []string{"popular", "own", "new"} {
		all := client.Report{Probe: kind}
		for k := i; k < len(reports); k += 3 {
			r := reports[k]
			all.Sent, all.Failures, all.Took = all.Sent+r.Sent, append(all.Failures, r.Failures...), append(all.Took, r.Took...)
		}
		line += fmt.Sprintf("\n    %s: %d sent, %d failed, p50 %s, p99 %s", kind, all.Sent, len(all.Failures), all.Quantile(0.5), all.Quantile(0.99))
	}
	for _, n := range b.Names[:min(3, len(b.Names))] {
		line += fmt.Sprintf("\n    %s: %d queries", n.Name, n.Queries)
	}
	return line
}
