// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// A pest is a pod that asks for new names below one, more than there is room for.
type pest struct {
	below   string
	block   string            // the server block's zone
	rate    int               // names a second
	refused bool              // whether some of them have to be
	stub    *dns.ClientConfig // of the other pod
}

// insistent asks again after a second, as C libraries do. At 20,000 names a second the process needs most of a CPU; where it does not get
// that, some packets find the socket's queue full, whoever they are from.
var insistent = &dns.ClientConfig{Servers: []string{lab.ClusterIP.String()}, Timeout: 1, Attempts: 2}

var pests = []pest{
	{"slow.cluster.local.", "cluster.local.", 400, true, nil},
	{"slow.example.org.", ".", 400, true, nil},
	{"2.0.192.in-addr.arpa.", "in-addr.arpa.", 100, true, nil},
	{"wild.cluster.local.", "cluster.local.", 20000, false, insistent}, // these are answered
}

// TestOnePodAsksTooMuch has one pod take all the places on the way to an upstream. Another pod's new names are answered, and what
// the cache knows is. The metrics say how many of the first one's questions are refused, and the log names it.
func TestOnePodAsksTooMuch(t *testing.T) {
	for _, p := range pests {
		t.Run(fmt.Sprintf("%d names of %s a second", p.rate, p.below), func(t *testing.T) { p.run(t) })
	}
}

func (p pest) run(t *testing.T) {
	l := lab.New(t, lab.IPTablesNFT)
	l.Slow.Delay(20 * time.Second)
	l.SlowOutside.Delay(20 * time.Second)
	other := l.NewPod(t, "other", 9)
	c := start(t, l, options{firewall: lab.IPTablesNFT, base: string(corefiles.Kubernetes)})
	probe := func(name func(int) string, interval time.Duration) client.Probe {
		return client.Probe{From: other, Target: lab.ClusterIP, Interval: interval, Timeout: 2 * time.Second, Name: name, Stub: p.stub}
	}
	loads := client.StartAll(t,
		probe(client.Always("kubernetes.default.svc.cluster.local."), 10*time.Millisecond),
		probe(client.Unique("inside"), 25*time.Millisecond),
		probe(func(i int) string { return fmt.Sprintf("u%d.example.org.", i) }, 25*time.Millisecond),
	)
	progress(t, loads, 20)
	flood := client.Flood{From: l.Pod, Target: lab.ClusterIP, Sources: []netip.Addr{lab.PodIP}, Rate: p.rate, Payload: client.NewNames(1, p.below)}.Start(t)
	harness.Until(t, time.Minute, "end of the flood", func() error {
		if n := flood.Sent(); n < p.rate*pestSeconds {
			return fmt.Errorf("%d names asked for", n)
		}
		return nil
	})
	for _, r := range stop(t, loads) {
		t.Log(r)
		if len(r.Failures) > r.Sent/100 {
			t.Errorf("%s: %d of %d failed", r.Probe, len(r.Failures), r.Sent)
		}
	}
	flood.Stop(t)
	full, share := p.counted(t, c, "full"), p.counted(t, c, "share")
	t.Logf("refused: %g as places are full, %g as they are beyond the share", full, share)
	if p.refused && full+share == 0 {
		t.Error("nothing was refused")
	}
	if full+share > 0 {
		c.WaitOutput(t, saidTimeout, "most of them from "+lab.PodIP.String())
	}
	if n := c.metric(t, "coredns_nodelocal_withdrawals_total", `reason="self_query"`); n > 0 {
		t.Errorf("steering went off %g times", n)
	}
}

// pestSeconds is how long one pod asks too much.
const pestSeconds = 8

// counted is how many questions were refused for a reason.
func (p pest) counted(t testing.TB, c *cache, reason string) float64 {
	return c.counter(t, "coredns_fairshare_refused_total", fmt.Sprintf("zone=%q", p.block), fmt.Sprintf("reason=%q", reason))
}
