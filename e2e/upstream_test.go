// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/upstream"
)

// lag is how long kube-proxy goes on giving new connections to a pod that is gone. It is more than one usually sees.
const lag = time.Second

// loss is a way in which one of the two pods of the cluster DNS goes.
type loss struct {
	name  string
	do    func(*testing.T, *lab.Replica)
	stays bool // as an endpoint, to the end
}

var losses = []loss{
	{"terminated", func(t *testing.T, r *lab.Replica) { r.Server.Signal(t, syscall.SIGTERM) }, false},
	{"killed", func(t *testing.T, r *lab.Replica) { r.Server.Signal(t, syscall.SIGKILL) }, false},
	{"cut off", func(t *testing.T, r *lab.Replica) { r.Cut(t) }, false},
	{"hung", func(t *testing.T, r *lab.Replica) { r.Server.Freeze(t) }, true},
}

// upstreamLoads are a busy node and a quiet one. On the quiet one a lookup finds several connections to the pod that is gone,
// one after the other; on the busy one the many share them out.
var upstreamLoads = []struct {
	name           string
	clients        int
	interval       time.Duration
	before, behind int // lookups of each client
}{
	{"busy", 4, 50 * time.Millisecond, 20, 40},
	{"quiet", 1, 400 * time.Millisecond, 4, 14},
}

// TestUpstream takes away one of the two pods of the cluster DNS under a load of names that the cache does not have, with
// the template that the program brings along. No lookup fails for a client that behaves as glibc does.
//
// The pod is harder to lose than a real one: it has no lameduck, and stays an endpoint for a while.
func TestUpstream(t *testing.T) {
	for _, loss := range losses {
		for _, load := range upstreamLoads {
			t.Run(loss.name+"/"+load.name, func(t *testing.T) {
				t.Parallel()
				l := lab.New(t, lab.IPTablesNFT)
				pod := l.NewReplica(t)
				pod.Serve(t, l)
				l.Endpoints(t, lab.DNSPodIP, pod.IP)
				start(t, l, options{firewall: lab.IPTablesNFT, base: string(corefiles.Kubernetes)})
				warm(t, l, pod)
				loads := misses(t, l, load.clients, load.interval)
				progress(t, loads, load.before)
				loss.happen(t, l, pod)
				progress(t, loads, load.behind)
				noLookupFails(t, stop(t, loads))
			})
		}
	}
}

func (l loss) happen(t *testing.T, node *lab.Lab, pod *lab.Replica) {
	t.Helper()
	l.do(t, pod)
	if !l.stays {
		<-time.After(lag) // a part of the story
		node.Endpoints(t, lab.DNSPodIP)
	}
}

// connections is how many of them the cache has open at the same time when a pod goes.
const connections = 16

// warm makes the cache open connections to both pods, by questions that take their time. Before it has opened a few, forward
// would wait up to 30 s for one; and all of them are used in turn from now on.
func warm(t *testing.T, l *lab.Lab, pod *lab.Replica) {
	t.Helper()
	l.Slow.Delay(400 * time.Millisecond) // less than read_timeout
	pod.Slow.Delay(400 * time.Millisecond)
	slow := func(i int) string { return upstream.SlowName("warm", i) }
	loads := client.StartAll(t, client.Probe{From: l.Pod, Target: lab.LinkLocal, Interval: 5 * time.Millisecond, Name: slow})
	progress(t, loads, connections)
	noFailure(t, stop(t, loads))
	if a, b := len(l.ClusterDNS.Seen(".warm.")), len(pod.Server.Seen(".warm.")); a == 0 || b == 0 {
		t.Errorf("one pod was asked %d times and the other %d times", a, b)
	}
}

// misses asks for names that are new, several at a time so that the cache needs several connections: as getaddrinfo does,
// which is what has to succeed, and without a second attempt, to see what that had to make good.
func misses(t *testing.T, l *lab.Lab, clients int, interval time.Duration) []*client.Load {
	t.Helper()
	glibc := &dns.ClientConfig{Servers: []string{lab.ClusterIP.String()}, Ndots: 1, Timeout: 5, Attempts: 2}
	var probes []client.Probe
	for i := range clients {
		probes = append(probes,
			client.Probe{From: l.Pod, Interval: interval, Name: client.Unique(fmt.Sprintf("stub%d", i)), Stub: glibc},
			client.Probe{From: l.Pod, Interval: interval, Name: client.Unique(fmt.Sprintf("raw%d", i)), Target: lab.LinkLocal, Timeout: 5 * time.Second})
	}
	return client.StartAll(t, probes...)
}

// noLookupFails reports each lookup that failed, and prints what became of all queries.
func noLookupFails(t *testing.T, reports []client.Report) {
	t.Helper()
	type sum struct {
		sent, failed, servfail int
		slowest                time.Duration
	}
	sums := map[bool]*sum{true: {}, false: {}}
	for _, r := range reports {
		stub := strings.Contains(r.Probe, "getaddrinfo")
		if stub {
			noFailure(t, []client.Report{r})
		}
		s := sums[stub]
		s.sent, s.failed, s.slowest = s.sent+r.Sent, s.failed+len(r.Failures), max(s.slowest, r.Slowest)
		for _, f := range r.Failures {
			if strings.Contains(f.Err.Error(), "SERVFAIL") {
				s.servfail++
			}
		}
	}
	for stub, what := range map[bool]string{true: "lookups", false: "single queries"} {
		s := sums[stub]
		t.Logf("%d %s, %d failed (%d SERVFAIL), slowest %s", s.sent, what, s.failed, s.servfail, s.slowest.Round(time.Millisecond))
	}
}
