// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// grabTime is how long somebody takes all there is.
const grabTime = 6 * time.Second

// A grab is an attack on what is shared: connections, and places for questions on their way.
type grab struct {
	attack
	files  uint64                       // descriptors that the process may have
	edits  []string                     // of the template, old and new text in turn
	ttl    uint32                       // of outside names at most, if they are not old
	before func(t *testing.T, s *scene) // what is done first; nil: nothing
}

// oneSlow is a name that is answered at first, and later not.
const oneSlow = "one.slow.example.org."

// oldName is one of 2,000 names that are answered at first, and later not.
func oldName(i int) string { return fmt.Sprintf("n%d.slow.example.org.", i%2000) }

var grabs = []grab{
	// Whoever is on the host's network asks from the same address as the kubelet, which is answered at /health all the same.
	{attack: attack{"700 connections of the host", func(t *testing.T, s *scene) func() int {
		return client.Crowd{From: s.lab.Node, Target: lab.LinkLocal, Size: 700, Manners: client.Idle}.Start(t).Stop
	}}, files: 1024, ttl: 30},
	// All clients together hold no more connections than there is room for, also when each has less than the least share.
	{attack: attack{"4,000 connections of 500 addresses", func(t *testing.T, s *scene) func() int {
		sources := s.lab.Pod.AddAddresses(t, lab.PodIP6, 500)
		return client.Crowd{From: s.lab.Pod, Target: lab.ClusterIP6, Sources: sources, Size: 4000, Manners: client.Idle}.Start(t).Stop
	}}, files: 2048, ttl: 30},
	// A question that was answered before may use the reserve, but one client's such questions not all of it.
	{attack: flooding("a known name that is slow now", 2000, lab.ClusterIP, client.One(oneSlow, dns.TypeA)), files: 4096, ttl: 2,
		edits: []string{"success __NODELOCALDNS__CACHE__9984__ 30", "success __NODELOCALDNS__CACHE__9984__ 2 1", "serve_stale 15m verify", "serve_stale 1s verify"},
		before: func(t *testing.T, s *scene) {
			ask := func() error {
				_, err := client.Ask(s.lab.Pod, client.Query{Server: client.Port53(lab.ClusterIP), Name: oneSlow, Type: dns.TypeA, Timeout: time.Second})
				return err
			}
			harness.Until(t, 10*time.Second, "answer", ask)
			s.lab.SlowOutside.Delay(silence)
			harness.Until(t, 20*time.Second, "end of the old answer", func() error {
				if ask() == nil {
					return fmt.Errorf("%s is answered", oneSlow)
				}
				return nil
			})
		}},
	// All addresses of an IPv4 /24 do not fill the reserve. 16 of them ask for each name.
	{attack: flooding("slow names, from 247 addresses", 1500, lab.ClusterIP,
		client.Names(func(i int) string { return fmt.Sprintf("p%d.slow.example.org.", i/16) }), client.Absent(lab.PodIP, 247)...), files: 4096, ttl: 30,
		before: func(_ *testing.T, s *scene) { s.lab.SlowOutside.Delay(silence) }},
	// One client's old names do not keep those of others old.
	{attack: flooding("2,000 old names", 800, lab.ClusterIP, client.Names(oldName)), files: 4096, ttl: 2,
		edits: []string{"success __NODELOCALDNS__CACHE__9984__ 30", "success __NODELOCALDNS__CACHE__9984__ 2 1"},
		before: func(t *testing.T, s *scene) {
			end := flooding("", 1000, lab.ClusterIP, client.Names(oldName)).begin(t, s)
			harness.Until(t, time.Minute, "question for the last name", func() error {
				if seen := s.lab.External.Seen(oldName(1999)); len(seen) == 0 {
					return fmt.Errorf("%d names asked for", len(s.lab.External.Seen("slow.example.org.")))
				}
				return nil
			})
			end()
			s.lab.SlowOutside.Delay(silence)
		}},
}

// TestShares has somebody take all there is of what is shared. All that others ask for and the cache knows is answered, and of
// their new names 99 in 100. The kubelet finds the cache in health, and steering stays on.
func TestShares(t *testing.T) {
	for _, g := range grabs {
		t.Run(g.name, func(t *testing.T) { g.run(t) })
	}
}

func (g grab) run(t *testing.T) {
	s := newScene(t, g.edits...)
	s.limitFiles(t, g.files)
	if g.before != nil {
		g.before(t, s)
	}
	outside := client.StartAll(t,
		client.Probe{From: s.bystander, Target: lab.ClusterIP, Timeout: patience, Name: client.Always("popular.example.org."), Check: g.fresh},
		client.Probe{From: s.bystander, Target: lab.ClusterIP, Interval: 20 * time.Millisecond, Timeout: patience, Name: func(i int) string { return fmt.Sprintf("u%d.example.org.", i) }},
	)
	k := s.kubelet()
	o := s.suffer(t, g.attack, grabTime)
	k.stop()
	kinds := append(append(append([]string{}, witnessKinds...), witnessKinds...), "popular", "new")
	sent, lost := 0, 0 // of the new names
	for i, r := range append(o.reports, stop(t, outside)...) {
		t.Logf("%s: %s", kinds[i], r)
		if kinds[i] == "new" {
			sent, lost = sent+r.Sent, lost+len(r.Failures)
		} else if len(r.Failures) > 0 {
			t.Errorf("%s: %d of %d failed", kinds[i], len(r.Failures), r.Sent)
		}
	}
	if few := float64(sent) / 100; float64(lost) > few+3*math.Sqrt(few) { // what chance adds
		t.Errorf("new: %d of %d failed", lost, sent)
	}
	t.Logf("%d questions of the kubelet; descriptors: %v", len(k.files), k.files)
	if len(k.ill) > 0 {
		t.Errorf("%d of %d questions of the kubelet failed, as %v", len(k.ill), len(k.files), k.ill[0])
	}
	if o.withdrawn > 0 {
		t.Errorf("steering went off %g times", o.withdrawn)
	}
	// For a moment all of them may be: the kernel makes connections faster than the guard counts them.
	if n := k.files[len(k.files)/2]; n > int(g.files)*7/8 {
		t.Errorf("%d of %d descriptors were in use most of the time", n, g.files)
	}
	o.bounded(t)
}

// fresh checks that an answer is not an old one, which has a TTL of its own.
func (g grab) fresh(m *dns.Msg) error {
	if len(m.Answer) == 0 || m.Answer[0].Header().Ttl > g.ttl {
		return fmt.Errorf("%s: %v", dns.RcodeToString[m.Rcode], m.Answer)
	}
	return nil
}

// A kubelet asks for /health from the node. Between its questions the descriptors of the process are counted.
type kubelet struct {
	files []int   // at each question
	ill   []error // what failed
	quit  chan struct{}
	done  chan struct{}
}

// kubelet begins to ask.
func (s *scene) kubelet() *kubelet {
	k := &kubelet{quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(k.done)
		for {
			select {
			case <-k.quit:
				return
			case <-time.After(200 * time.Millisecond): // between two questions
			}
			if _, err := s.lab.Node.Get(fmt.Sprintf("http://%s:8080/health", lab.LinkLocal)); err != nil {
				k.ill = append(k.ill, err)
			}
			k.files = append(k.files, s.Needs(s.page).Files)
		}
	}()
	return k
}

// stop ends the questions.
func (k *kubelet) stop() {
	close(k.quit)
	<-k.done
	slices.Sort(k.files)
}
