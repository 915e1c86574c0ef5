// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/kubeapi"
	"github.com/nodelocaldns/nodelocaldns/plugin/searchpath"
)

// outside returns n names outside of the cluster, of six top-level domains.
func outside(n int) []string {
	tops := []string{"com", "com", "com", "com", "org", "org", "net", "net", "io", "io", "dev", "eu"}
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("api%d.example%d.%s", i, i/3, tops[i%len(tops)])
		if i%3 == 0 {
			all[i] = fmt.Sprintf("example%d.%s", i, tops[i%len(tops)])
		}
	}
	return all
}

// workload is what clients with ndots:5 ask for.
type workload struct {
	names, namespaces int           // one client for each namespace
	rounds            int           // in each of which each client looks up each name
	period            time.Duration // of a round, over which the look-ups are spread
	apart             time.Duration // between two clients
	atOnce            bool          // A and AAAA at the same time, as C libraries do
}

// run sends the questions to h and returns how many there are. It is for a bubble.
func (l workload) run(h plugin.Handler) (questions int) {
	names := outside(l.names)
	var all sync.WaitGroup
	for n := range l.namespaces {
		all.Go(func() {
			start := time.Now().Add(time.Duration(n) * l.apart)
			for i := range l.rounds * l.names {
				time.Sleep(time.Until(start.Add(time.Duration(i) * l.period / time.Duration(l.names))))
				for _, suffix := range []string{fmt.Sprintf(".ns%d.svc", n), ".svc", ""} {
					l.pair(h, names[i%l.names]+suffix)
				}
			}
		})
	}
	all.Wait()
	return l.names * l.namespaces * l.rounds * 3 * 2
}

// pair asks for A and AAAA.
func (l workload) pair(h plugin.Handler, name string) {
	one := func(qtype uint16) {
		if code, err := h.ServeDNS(context.Background(), new(writer), ask(name, qtype)); err != nil {
			panic(fmt.Sprint(code, err))
		}
	}
	if !l.atOnce {
		one(dns.TypeA)
		one(dns.TypeAAAA)
		return
	}
	var both sync.WaitGroup
	both.Go(func() { one(dns.TypeA) })
	both.Go(func() { one(dns.TypeAAAA) })
	both.Wait()
}

// withCache puts the plugin cache in front of next.
func withCache(t *testing.T, text string, next plugin.Handler) plugin.Handler {
	c := caddy.NewTestController("dns", text)
	c.ServerBlockKeys = []string{"."}
	setup, err := caddy.DirectiveAction("dns", "cache")
	if err != nil {
		t.Fatal(err)
	}
	if err := setup(c); err != nil {
		t.Fatal(err)
	}
	return dnsserver.GetConfig(c).Plugin[0](next)
}

// asked returns how many questions of l reach the cluster DNS, and how many there are.
func asked(t *testing.T, c *cluster, cache string, l workload, with bool) (upstream, questions int) {
	synctest.Test(t, func(t *testing.T) {
		s := searchpath.New([]string{zone}, true)
		s.Next = c
		defer s.Close()
		var next plugin.Handler = c
		if with {
			next = s
		}
		before := c.asked.Load()
		questions = l.run(withCache(t, cache, next))
		synctest.Wait()
		upstream = int(c.asked.Load() - before)
	})
	return upstream, questions
}

const (
	plainCache = "cache {\n success 9984 30\n denial 9984 5\n}"
	briefCache = "cache {\n success 9984 30\n denial 9984 5 1\n}"
)

// TestFigures: what the search list costs the cluster DNS, with the plugin and without it.
func TestFigures(t *testing.T) {
	c := startCluster(t, "", "ttl 30", func(a *kubeapi.API) {
		for n := range 20 {
			a.Namespace(fmt.Sprintf("ns%d", n))
		}
	})
	c.delay = time.Millisecond
	c.within(t, "ns19.svc", dns.RcodeSuccess)
	// In 5.1 s, which is a little more than a denial lives, each client looks up all names. So none of the questions
	// with a client's own namespace in it is answered by the cache: that is what search lists cost at most.
	const ms = time.Millisecond
	for _, tt := range []struct {
		name, cache string
		load        workload
		ofQuestions float64 // at most, of all questions
		ofUpstream  float64 // at most, of those that reach it without the plugin
	}{
		{"one after the other", plainCache, workload{60, 4, 1, time.Second, time.Second, false}, 0.08, 1},
		{"A and AAAA at once", plainCache, workload{60, 4, 1, time.Second, 7 * ms, true}, 0.08, 1},
		{"everybody at once", plainCache, workload{60, 4, 1, time.Second, 0, true}, 0.12, 0.12}, // before anything is known
		{"five minutes", plainCache, workload{200, 20, 59, 5100 * ms, 237 * ms, false}, 1, 0.02},
		{"least TTL 1", briefCache, workload{200, 20, 12, 5100 * ms, 237 * ms, true}, 1, 0.025}, // a minute: its beginning counts more
	} {
		t.Run(tt.name, func(t *testing.T) {
			without, questions := asked(t, c, tt.cache, tt.load, false)
			with, _ := asked(t, c, tt.cache, tt.load, true)
			ofQuestions, ofUpstream := float64(with)/float64(questions), float64(with)/float64(without)
			t.Logf("of %d questions %d reach the cluster DNS without the plugin, %d with it: %.1f %% of the questions, %.2f %% of those without it",
				questions, without, with, 100*ofQuestions, 100*ofUpstream)
			if ofQuestions > tt.ofQuestions || ofUpstream > tt.ofUpstream {
				t.Errorf("want %v and %v at most", tt.ofQuestions, tt.ofUpstream)
			}
		})
	}
}
