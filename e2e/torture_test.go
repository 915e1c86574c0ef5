// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

// What make torture says. A round is drawn from the seed and its number alone, so that it can be repeated without the others.
var (
	tortureTime  = flag.Duration("torture.time", time.Minute, "how long TestTorture goes on")
	tortureSeed  = flag.Uint64("torture.seed", 1, "what TestTorture draws from")
	tortureRound = flag.Int("torture.round", 0, "the only round of TestTorture; 0: all")
)

// What a hit may lose in any round: the time that a busy machine takes for a query more or less.
const tortureGap = time.Second

// tortureRecovery is when goroutines and descriptors are what they were before a round: queries to a silent server are given
// up 4 s after they came.
const tortureRecovery = recovery + 4*time.Second

// TestTorture draws what a pod, an upstream and the host do to the cache at the same time, round after round. Another pod's
// queries and the state of the node say whether the promises hold.
func TestTorture(t *testing.T) {
	t.Logf("seed %d: make torture SEED=%d", *tortureSeed, *tortureSeed)
	last := *tortureRound
	if last == 0 {
		last = math.MaxInt
	}
	harness.Racy(t) // to build it is no part of the time
	begin, rounds := time.Now(), 0
	for round, first := max(1, *tortureRound), 0; round <= last && round > first && time.Since(begin) < *tortureTime; {
		first = round // a victim that does not come as far as to the next round is the last one
		t.Run(fmt.Sprintf("from round %d", round), func(t *testing.T) {
			s := newVictim(t, rand.New(rand.NewPCG(*tortureSeed, 0)))
			for sound := true; sound && round <= last && time.Since(begin) < *tortureTime; round++ {
				rounds++
				sound = t.Run(fmt.Sprint(round), func(t *testing.T) { s.round(t, rand.New(rand.NewPCG(*tortureSeed, uint64(round)))) })
				if !sound { // what is left of the victim says nothing
					t.Logf("to repeat it: make torture SEED=%d ROUND=%d", *tortureSeed, round)
				}
			}
		})
	}
	if rounds == 0 {
		t.Error("the time was too short for a round")
	}
}

// victim is a node under torture.
type victim struct {
	*scene
	replica *lab.Replica  // a bad upstream's place
	state   netns.State   // of the node without torture
	needs   process.Needs // of the process, likewise
	checked int           // octets of its output that were looked at
}

// newVictim starts a cache on a node of its own. The seed decides how.
func newVictim(t *testing.T, draw *rand.Rand) *victim {
	t.Helper()
	backend := lab.Backends[draw.IntN(len(lab.Backends))]
	o := options{firewall: backend, addrs: dual, base: string(corefiles.Kubernetes), program: harness.Racy(t)}
	if draw.IntN(2) == 0 {
		o.env = []string{"GOMEMLIMIT=64MiB"}
	}
	t.Logf("%s, %v", backend, o.env)
	l := lab.New(t, lab.IPTablesNFT)
	l.Slow.Delay(silence)
	s := &victim{scene: &scene{bystander: l.NewPod(t, "bystander", 100)}, replica: l.NewReplica(t)}
	s.cache = start(t, l, o)
	client.StopAll(s.witnesses(t, "warm")) // so that it has its connections
	s.state, s.needs = s.standing(t), s.Needs(s.page)
	return s
}

// standing is what is configured on the node, without what comes and goes in order and the rules of Lab.Endpoints.
func (s *victim) standing(t *testing.T) netns.State {
	t.Helper()
	state := s.lab.Node.State(t)
	return settledForm(state.Without(state.With("link ")).Without(state.With("KUBE-SVC-UPSTREAM")))
}

func (s *victim) witnesses(t *testing.T, tag string) []*client.Load {
	t.Helper()
	loads := client.StartAll(t, append(s.witness(lab.ClusterIP, tag+"4"), s.witness(lab.LinkLocal6, tag+"6")...)...)
	progress(t, loads, 5)
	return loads
}

// round has an attack and a bad upstream, or neither, last while the host does one thing after another. Then all of it ends.
func (s *victim) round(t *testing.T, draw *rand.Rand) {
	loads := s.witnesses(t, fmt.Sprintf("r%d", draw.Uint32()))
	drawn, ends := s.episodes(t, draw)
	for _, end := range slices.Backward(ends) {
		end()
	}
	steering, state, needs := s.recovers(t)
	reports := stop(t, loads)
	inTime(t, "steering again", steering, recovery, reports)
	inTime(t, "the state of before", state, recovery, reports)
	inTime(t, "the needs of before", needs, tortureRecovery, reports)
	s.judge(t, drawn, reports)
}

// episodes draws what happens in a round, and has it happen. It returns what has not ended yet.
func (s *victim) episodes(t *testing.T, draw *rand.Rand) (drawn []episode, ends []func()) {
	missing := map[need]bool{}
	begin := func(e episode) (end func()) {
		t.Log(e.name)
		drawn, missing[e.takes] = append(drawn, e), e.takes != ""
		return e.begin(t, s, draw)
	}
	for _, table := range [][]episode{pods, upstreams} {
		if e := table[draw.IntN(len(table))]; draw.IntN(4) > 0 {
			ends = append(ends, begin(e))
		}
	}
	for range 1 + draw.IntN(3) {
		e := hosts[draw.IntN(len(hosts))]
		impossible := slices.ContainsFunc(e.needs, func(n need) bool { return missing[n] })
		if impossible || !strings.HasPrefix(string(s.options.firewall), string(e.only)) {
			continue
		}
		end := begin(e)
		<-time.After(time.Duration(500+draw.IntN(1500)) * time.Millisecond) // the time of it
		if e.takes != "" {
			ends = append(ends, end)
		} else {
			end()
		}
	}
	return drawn, ends
}

// recovers waits until all is as it was, and returns how long steering, what is configured on the node, and what the process needs
// took.
func (s *victim) recovers(t *testing.T) (steering, state, needs time.Duration) {
	t.Helper()
	steering = s.waitSteering(t, true, againTimeout)
	begin := time.Now()
	harness.Until(t, againTimeout, "the state of before", func() error {
		looked := time.Since(begin)
		now := s.standing(t)
		if missing, more := s.state.Without(now), now.Without(s.state); len(missing)+len(more) > 0 {
			state = looked // the look takes its time
			return fmt.Errorf("missing:\n%s\nmore than before:\n%s", missing, more)
		}
		return nil
	})
	needs = harness.Until(t, 3*tortureRecovery, "the needs of before", func() error {
		if now := s.Needs(s.page); now.Goroutines == 0 || now.Goroutines > s.needs.Goroutines+100 || now.Files > s.needs.Files+100 { // 64 connections to the cluster DNS are kept
			return fmt.Errorf("%s, before %s", now, s.needs)
		}
		return nil
	})
	return steering, state, needs
}

// trouble is what no program may ever print.
var trouble = regexp.MustCompile(`DATA RACE|panic|fatal error|goroutine \d+ \[`)

// judge compares what the bystander lost with what the episodes may cost.
func (s *victim) judge(t *testing.T, drawn []episode, reports []client.Report) {
	t.Helper()
	allowed, fresh := tortureGap, tortureGap
	for _, e := range drawn {
		allowed, fresh = allowed+e.gap, fresh+max(e.gap, e.fresh)
	}
	for i, r := range reports {
		kind := witnessKinds[i%len(witnessKinds)]
		limit := allowed
		if kind == "new" {
			limit = fresh
		}
		if r.Gap > limit+r.Stall {
			t.Errorf("%s: nothing for longer than %s: %s", kind, limit, r)
		}
		t.Logf("%s: %d/%d lost, %s without an answer", kind, len(r.Failures), r.Sent, r.Gap.Round(time.Millisecond))
	}
	s.readable(t)
}

// readable looks for trouble in what the process has printed since the last look.
func (s *victim) readable(t *testing.T) {
	t.Helper()
	output := s.Output()
	if at := trouble.FindStringIndex(output[min(s.checked, len(output)):]); at != nil {
		t.Errorf("it printed:\n%s", output[s.checked:][at[0]:min(at[0]+4000, len(output)-s.checked)])
	}
	s.checked = len(output)
}
