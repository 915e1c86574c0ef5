// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// keptNames are asked for until the cache has them. Their TTL is 30 s.
const keptNames = 1000

func keptName(i int) string { return fmt.Sprintf("kept%d.wild.cluster.local.", i) }

// askKept asks for all names, some at a time, and returns how many had an answer with data.
func askKept(l *lab.Lab) int {
	var wg sync.WaitGroup
	var mu sync.Mutex
	good, next := 0, 0
	for range 100 {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= keptNames {
					return
				}
				m, err := client.Ask(l.Pod, client.Query{Server: client.Port53(lab.LinkLocal), Name: keptName(i), Type: dns.TypeA, Timeout: 5 * time.Second})
				if err == nil && len(m.Answer) > 0 {
					mu.Lock()
					good++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return good
}

// askedAgain is how many of the names a cache has asked the cluster DNS for, over TCP; pods ask over UDP.
func askedAgain(l *lab.Lab) int {
	names := map[string]bool{}
	for _, s := range l.ClusterDNS.Seen("kept") {
		if s.Proto == "tcp" {
			names[s.Name] = true
		}
	}
	return len(names)
}

// TestKeep has the cache know 1,000 names, and then end, be killed, be given another configuration, or be replaced, under
// load. What it knew it knows then: the cluster DNS is asked for next to none again.
func TestKeep(t *testing.T) {
	for _, event := range []struct {
		name string
		do   func(t *testing.T, c *cache) *cache // returns the one that answers then
	}{
		{"kill -9", func(t *testing.T, c *cache) *cache { c.kill(t); return c.again(t) }},
		{"SIGTERM", func(t *testing.T, c *cache) *cache { c.term(t); return c.again(t) }},
		{"reload", func(t *testing.T, c *cache) *cache {
			c.setBase(t, c.options.base+extraBlock(ipv4))
			c.Signal(t, syscall.SIGUSR1)
			waitExtra(t, c.lab, ipv4...)
			return c
		}},
		{"another instance", func(t *testing.T, c *cache) *cache {
			o := c.options
			o.metrics = 9254
			next := start(t, c.lab, o)
			askKept(c.lab) // of both
			c.term(t)
			return next
		}},
	} {
		t.Run(event.name, func(t *testing.T) {
			l := lab.New(t, lab.IPTablesNFT)
			c := start(t, l, options{firewall: lab.IPTablesNFT, base: string(corefiles.Kubernetes), args: []string{"-statedir", harness.Dir(t) + "/state"}})
			if n := askKept(l); n != keptNames {
				t.Fatalf("%d of %d names answered", n, keptNames)
			}
			loads := client.StartAll(t, client.Probe{From: l.Pod, Target: lab.LinkLocal, Interval: 2 * time.Millisecond, Timeout: 5 * time.Second,
				Name: func(i int) string { return keptName(i % keptNames) }})
			progress(t, loads, 50)
			l.ClusterDNS.Forget()
			c = event.do(t, c)
			c.waitSteering(t, true, steeringTimeout)
			if n := askKept(l); n < keptNames*99/100 {
				t.Errorf("%d of %d names answered", n, keptNames)
			}
			n := askedAgain(l)
			stop(t, loads)
			t.Logf("the cluster DNS was asked again for %d of %d names", n, keptNames)
			if n > keptNames*5/100 {
				t.Errorf("the cluster DNS was asked again for %d of %d names", n, keptNames)
			}
		})
	}
}

// TestKeepOutage kills the cache while the cluster DNS says nothing and all it has told is out of date. The old answers are
// given again.
func TestKeepOutage(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.IPTablesNFT)
	c := start(t, l, options{firewall: lab.IPTablesNFT, base: string(corefiles.Kubernetes), args: []string{"-statedir", harness.Dir(t) + "/state"}})
	if n := askKept(l); n != keptNames {
		t.Fatalf("%d of %d names answered", n, keptNames)
	}
	l.LoseDNS(t, 1)
	<-time.After(31 * time.Second) // all TTLs run out
	c.kill(t)
	c = c.again(t)
	for range 2 {
		n := askKept(l)
		t.Logf("%d of %d names answered", n, keptNames)
		if n < keptNames*95/100 {
			t.Errorf("%d of %d names answered", n, keptNames)
		}
	}
	l.FindDNS(t)
	c.waitMetric(t, 20*time.Second, 1, "coredns_hedge_upstream_up")
}
