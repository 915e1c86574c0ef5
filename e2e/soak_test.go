// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/output"
	"github.com/nodelocaldns/nodelocaldns/e2e/soak"
	"github.com/nodelocaldns/nodelocaldns/e2e/usage"
)

// What make soak says.
var (
	soakTime    = flag.Duration("soak.time", 0, "how long TestSoak goes on; 0: one event of each group")
	soakSeed    = flag.Uint64("soak.seed", 1, "what TestSoak draws from")
	soakOut     = flag.String("soak.out", "", "`DIRECTORY` for the results of TestSoak; empty: none")
	soakResults = flag.String("soak.results", "", "results.json of another run that TestSoak judges and shows, in the place of a run")
)

const (
	soakInterval = 5 * time.Second  // between two samples
	soakEnd      = 16 * time.Second // from the last event to the end: some samples while nothing happens
)

// soaking is a cache under a steady load for a long time.
type soaking struct {
	*victim
	t       *testing.T // of the whole soak: an event has one of its own
	draw    *rand.Rand
	once    bool // one event of each group, and for a shorter time
	begin   time.Time
	reloads int
	loads   []*client.Load
	classes []soak.Class // of the loads

	mu      sync.Mutex // of what the sampler reads or writes
	caches  []*cache   // one for each process
	results soak.Results
}

// TestSoak has pods ask 2,000 queries a second of a cache in the default configuration. At random times it is reloaded, killed or
// updated, its rules are flushed, or the cluster DNS is in trouble. No query is lost but those that an event may cost, and the
// memory, the goroutines and the descriptors of each process do not grow.
func TestSoak(t *testing.T) {
	if *soakResults != "" {
		r, err := soak.Read(*soakResults)
		if err != nil {
			t.Fatal(err)
		}
		publish(t, r)
		return
	}
	s := newSoaking(t)
	stopSampling := s.sampled()
	defer func() { // also when the test has ended early
		stopSampling()
		s.finish()
		publish(t, &s.results)
	}()
	s.run()
	s.readable(t)
}

// newSoaking starts the cache and the clients.
func newSoaking(t *testing.T) *soaking {
	t.Helper()
	l := lab.New(t, lab.IPTablesNFT)
	s := &soaking{t: t, draw: rand.New(rand.NewPCG(*soakSeed, 0)), once: *soakTime == 0,
		victim: &victim{scene: &scene{bystander: l.NewPod(t, "bystander", 100)}, replica: l.NewReplica(t)}}
	s.cache = start(t, l, options{firewall: lab.IPTablesNFT, addrs: dual, base: string(corefiles.Kubernetes)})
	s.begin, s.caches = time.Now(), []*cache{s.cache}
	s.results = soak.Results{Date: s.begin.UTC().Format(time.DateOnly), Seed: *soakSeed, CPUs: runtime.NumCPU(), Processes: []soak.Process{{}}}
	s.ask()
	progress(t, s.loads, 20)
	return s
}

// soakClients are what is asked at each of the four addresses, 500 queries a second together.
var soakClients = []struct {
	class    soak.Class
	interval time.Duration
	probe    client.Probe
}{
	{soak.Known, 4 * time.Millisecond, client.Probe{Name: knownName}},
	{soak.Known, 10 * time.Millisecond, client.Probe{Name: knownName, Type: dns.TypeAAAA, Socket: client.Long}},
	{soak.Known, 10 * time.Millisecond, client.Probe{Check: denied, Name: func(i int) string {
		return fmt.Sprintf("api%d.example.org.%s", i%100, []string{"default.svc.cluster.local.", "svc.cluster.local.", "cluster.local."}[i%3])
	}}},
	{soak.New, 50 * time.Millisecond, client.Probe{}},
	{soak.New, 200 * time.Millisecond, client.Probe{}}, // below slow.cluster.local
	{soak.TCP, 40 * time.Millisecond, client.Probe{Name: knownName, TCP: true}},
}

// knownName is one of 100 names, some of them outside.
func knownName(i int) string {
	if i%5 == 0 {
		return fmt.Sprintf("known%d.example.org.", i%100)
	}
	return fmt.Sprintf("known%d.wild.cluster.local.", i%100)
}

// denied is the check of a name of a search list.
func denied(m *dns.Msg) error {
	if m.Rcode != dns.RcodeNameError {
		return fmt.Errorf("answered %s with %d records", dns.RcodeToString[m.Rcode], len(m.Answer))
	}
	return nil
}

// ask starts the clients, in two pods.
func (s *soaking) ask() {
	var probes []client.Probe
	for i, a := range dual {
		for j, c := range soakClients {
			p := c.probe
			p.From, p.Target, p.Interval, p.Timeout = s.lab.Pod, a, c.interval, 5*time.Second
			if i%2 == 1 {
				p.From = s.bystander
			}
			if p.Name == nil {
				zone := map[bool]string{true: "slow", false: "wild"}[c.interval > 100*time.Millisecond]
				p.Name = func(n int) string { return fmt.Sprintf("u%d.soak%d-%d.%s.cluster.local.", n, i, j, zone) }
			}
			probes, s.classes = append(probes, p), append(s.classes, c.class)
		}
	}
	s.loads = client.StartAll(s.t, probes...)
}

func (s *soaking) now() float64 { return time.Since(s.begin).Seconds() }

// run has one event after the other, drawn from a deck that has each of them as often as it shall happen. An event that fails
// does not end the soak.
func (s *soaking) run() {
	for _, e := range soakEvents {
		s.results.Kinds = append(s.results.Kinds, e.Kind)
	}
	for {
		for _, i := range s.deck() {
			pause := 2 * time.Second
			if !s.once {
				pause = time.Duration(15000+s.draw.IntN(20000)) * time.Millisecond
			}
			if rest := *soakTime - time.Since(s.begin) - soakEnd; !s.once && pause > rest {
				<-time.After(max(0, rest) + soakEnd)
				return
			}
			<-time.After(pause) // the rhythm of the soak
			s.happen(soakEvents[i])
		}
		if s.once {
			<-time.After(soakEnd)
			return
		}
	}
}

// deck is the indices of the events, shuffled.
func (s *soaking) deck() (deck []int) {
	groups := map[string]bool{}
	for i, e := range soakEvents {
		often := e.often
		if s.once {
			often = map[bool]int{false: 1}[groups[e.Group]]
			groups[e.Group] = true
		}
		deck = append(deck, slices.Repeat([]int{i}, often)...)
	}
	s.draw.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
	return deck
}

// happen has one event, and waits until steering is on after it.
func (s *soaking) happen(e soakEvent) {
	event := soak.Event{Kind: e.Name, Begin: s.now()}
	s.t.Run(fmt.Sprintf("%.0fs %s", event.Begin, e.Name), func(t *testing.T) {
		e.do(s, t)
		s.waitSteering(t, true, againTimeout)
	})
	event.End = s.now()
	s.results.Events = append(s.results.Events, event)
	s.lab.ClusterDNS.Forget()
	s.lab.External.Forget()
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := len(s.caches) - 1; s.caches[last].Process != s.Process {
		s.results.Processes[last].End, s.results.Processes[last].Ended = event.End, e.Name
		s.caches = append(s.caches, s.cache)
		s.results.Processes = append(s.results.Processes, soak.Process{Begin: s.started.Sub(s.begin).Seconds()})
	}
}

// sampled begins to sample, and returns what ends it.
func (s *soaking) sampled() (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(soakInterval)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
				s.sample()
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

// sample looks at the process, and at how much was asked. A process that has just ended has no sample.
func (s *soaking) sample() {
	s.mu.Lock()
	last := len(s.caches) - 1
	c := s.caches[last]
	s.mu.Unlock()
	sent := soak.Sent{At: s.now(), Queries: s.queries(), Waited: usage.Waiting().Seconds()}
	needs := c.Needs(c.page)
	used, err := usage.CPU(c.Pid())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.results.Sent = append(s.results.Sent, sent)
	if err == nil && needs.Goroutines > 0 && needs.RSS > 0 && needs.Files > 0 {
		s.results.Samples = append(s.results.Samples, soak.Sample{
			At: sent.At, Process: last, RSS: needs.RSS, Goroutines: needs.Goroutines, Files: needs.Files, CPU: used.Seconds()})
	}
}

func (s *soaking) queries() (n int) {
	for _, l := range s.loads {
		n += l.SoFar().Sent
	}
	return n
}

// finish ends the clients, and counts what they have lost.
func (s *soaking) finish() {
	s.results.Seconds = s.now()
	s.results.Processes[len(s.results.Processes)-1].End = s.results.Seconds
	for i, r := range stop(s.t, s.loads) {
		s.results.Stall = max(s.results.Stall, r.Stall.Seconds())
		for _, f := range r.Failures {
			s.results.Failures = append(s.results.Failures, soak.Failure{
				At: f.At.Sub(s.begin).Seconds(), Class: s.classes[i], Answered: strings.HasPrefix(f.Err.Error(), "answered "),
				Error: fmt.Sprintf("%s: %s: %v", r.Probe, f.Name, f.Err)})
		}
	}
	s.results.Sent = append(s.results.Sent, soak.Sent{At: s.now(), Queries: s.queries(), Waited: usage.Waiting().Seconds()})
}

// publish writes the results, with -update also into the documentation, and judges them.
func publish(t *testing.T, r *soak.Results) {
	t.Helper()
	t.Logf("\n%s", r.Tables())
	if err := r.Faults(); err != nil {
		t.Error(err)
	}
	if *soakOut != "" {
		if err := r.Write(*soakOut); err != nil {
			t.Error(err)
		}
	}
	if !*draw || *soakTime == 0 && *soakResults == "" {
		return
	}
	const file, begin, end = "../docs/testing.md", "<!-- begin of what make soak writes -->\n", "<!-- end of what make soak writes -->\n"
	if err := output.Insert(file, begin, end, r.Tables()); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile("../docs/soak.svg", []byte(r.Plot()), 0o644); err != nil {
		t.Error(err)
	}
}
