// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

// What the process needs at most, whatever a pod does.
const (
	attackedRSS        = 150 << 20
	attackedGoroutines = 5000
)

// floodTime is how long a flood lasts, attackTime an attack that nobody is to notice, and recovery when steering is on again after it.
const (
	floodTime  = 2 * time.Second
	attackTime = 5 * time.Second
	recovery   = 3 * time.Second
)

// silence is after how long silent names are answered: when the cache has given up.
const silence = 5 * time.Second

// hotName is what the bystander asks for all the time, and the attacker in most floods.
const hotName = "hot.wild.cluster.local."

// scene is a node with a cache, the pod l.Pod, which attacks, and a bystander.
type scene struct {
	*cache
	bystander *netns.Namespace
	attacks   int // so far
}

// newScene has the embedded template at all four addresses, with edits if there are any, old and new text in turn. Names below slow.cluster.local are silent: their answer comes when
// everybody has given up.
func newScene(t *testing.T, edits ...string) *scene {
	t.Helper()
	base := string(corefiles.Kubernetes)
	for i := 0; i < len(edits); i += 2 {
		if !strings.Contains(base, edits[i]) {
			t.Fatalf("the template has no %q", edits[i])
		}
		base = strings.ReplaceAll(base, edits[i], edits[i+1])
	}
	l := lab.New(t, lab.IPTablesNFT)
	l.Slow.Delay(silence)
	s := &scene{bystander: l.NewPod(t, "bystander", 100)}
	s.cache = start(t, l, options{firewall: lab.IPTablesNFT, addrs: dual, base: base})
	return s
}

// witness is what the bystander does meanwhile, at an address: it asks for a hit, for names that the cache knows, but not as
// packets, for new names, and for a hit over TCP.
func (s *scene) witness(at netip.Addr, tag string) []client.Probe {
	known := func(i int) string { return fmt.Sprintf("known%d.wild.cluster.local.", i%25) }
	probes := []client.Probe{{Name: client.Always(hotName)}, {Name: known}, {Name: client.Unique(tag)}, {Name: client.Always(hotName), TCP: true}}
	for i := range probes {
		probes[i].From, probes[i].Target, probes[i].Timeout = s.bystander, at, patience
	}
	return probes
}

// witnessKinds names the probes of witness.
var witnessKinds = []string{"hit", "known", "new", "TCP"}

// attack is what one pod does to the others. Its begin returns what ends it, which returns how much of it there was.
type attack struct {
	name  string
	begin func(t *testing.T, s *scene) (end func() int)
}

// flooding is an attack by one flood, from the pod's own address if there are no others.
func flooding(name string, rate int, target netip.Addr, payload client.Payload, sources ...netip.Addr) attack {
	if len(sources) == 0 {
		sources = []netip.Addr{podAddress(target)}
	}
	return attack{name, func(t *testing.T, s *scene) func() int {
		g := client.Flood{From: s.lab.Pod, Target: target, Sources: sources, Rate: rate, Payload: payload}.Start(t)
		return func() int { return g.Stop(t) }
	}}
}

// crowding is an attack by TCP connections.
func crowding(size int, manners client.Manners) attack {
	return attack{fmt.Sprintf("%d %s connections", size, manners), func(t *testing.T, s *scene) func() int {
		return client.Crowd{From: s.lab.Pod, Target: lab.ClusterIP, Size: size, Manners: manners}.Start(t).Stop
	}}
}

// both are several attacks at the same time.
func both(name string, attacks ...attack) attack {
	return attack{name, func(t *testing.T, s *scene) func() int {
		var ends []func() int
		for _, a := range attacks {
			ends = append(ends, a.begin(t, s))
		}
		return func() (n int) {
			for _, end := range ends {
				n += end()
			}
			return n
		}
	}}
}

func podAddress(target netip.Addr) netip.Addr {
	if target.Is6() {
		return lab.PodIP6
	}
	return lab.PodIP
}

// spoofing has sources of the pod's subnet that nobody has: each answer waits for its neighbour's address in the node's kernel.
func spoofing(rate, sources int, target netip.Addr) attack {
	return flooding(fmt.Sprintf("%d spoofed/s from %d at %s", rate, sources, target), rate, target,
		client.One(hotName, dns.TypeA), client.Absent(podAddress(target), sources)...)
}

// slowSpoofs are at rates that any pod can send.
var slowSpoofs = []attack{
	both("200 spoofed/s from 10", spoofing(200, 10, lab.ClusterIP), spoofing(200, 10, lab.LinkLocal)),
	both("200 spoofed/s from 100", spoofing(200, 100, lab.ClusterIP), spoofing(200, 100, lab.LinkLocal)),
	both("200 spoofed/s from 100, IPv6", spoofing(200, 100, lab.ClusterIP6), spoofing(200, 100, lab.LinkLocal6)),
}

// TestSpoofed sends packets of sources that do not exist, so many that their answers fill what the kernel has for neighbours
// that it looks for. Nobody else notices.
func TestSpoofed(t *testing.T) {
	s := newScene(t)
	for _, a := range slowSpoofs {
		t.Run(a.name, func(t *testing.T) {
			o := s.suffer(t, a, attackTime)
			o.bounded(t)
			if o.withdrawn > 0 {
				t.Errorf("steering was off: %s", o)
			}
			for i, r := range o.reports {
				if len(r.Failures) > 0 {
					t.Errorf("%s: %s", witnessKinds[i%len(witnessKinds)], r)
				}
			}
		})
	}
	t.Run("reload and SIGTERM", s.leaves)
}

// leaves reloads and ends the cache without an attack and under one, which takes hardly longer.
func (s *scene) leaves(t *testing.T) {
	clock := client.StartAll(t, s.witness(lab.ClusterIP, "leaves")[:1]...)
	reload, end := s.left(t)
	s.cache = s.again(t)
	stop := both("", slowSpoofs[1], slowSpoofs[2]).begin(t, s)
	<-time.After(time.Second) // until the kernel's queues are full
	attackedReload, attackedEnd := s.left(t)
	stop()
	reports := client.StopAll(clock)
	inTime(t, "a reload", attackedReload, max(2*time.Second, 3*reload), reports)
	inTime(t, "the end", attackedEnd, max(2*time.Second, 3*end), reports)
}

// left reloads and ends the cache, and returns how long each took.
func (s *scene) left(t *testing.T) (reload, end time.Duration) {
	t.Helper()
	begin := time.Now()
	s.reload(t)
	reload, begin = time.Since(begin), time.Now()
	s.term(t)
	return reload, time.Since(begin)
}

// busyPods are what a pod may do, by malice or by mistake, without a loss to others. The pests are more of them.
var busyPods = []attack{
	flooding("10,000 new names/s with EDNS", 10000, lab.LinkLocal6, client.NewNames(8, "wild.cluster.local.", func(m *dns.Msg) { m.SetEdns0(1232, false) })),
	flooding("20,000 hot/s", 20000, lab.ClusterIP, client.One(hotName, dns.TypeA)),
	flooding("20,000 noise/s", 20000, lab.ClusterIP, client.Noise(9)),
}

// TestBusyPod has the bystander ask beside a pod that does more than it should: of its new names 99 in 100 are answered, and of
// all that the cache knows at least as many, but for what the kernel drops at the address when the machine has no time for the
// readers.
func TestBusyPod(t *testing.T) {
	s := newScene(t)
	for _, a := range busyPods {
		t.Run(a.name, func(t *testing.T) {
			o := s.suffer(t, a, attackTime)
			o.bounded(t)
			sent, lost := map[string]int{}, map[string]int{}
			for i, r := range o.reports {
				kind := witnessKinds[i%len(witnessKinds)]
				sent[kind], lost[kind] = sent[kind]+r.Sent, lost[kind]+len(r.Failures)
			}
			for _, kind := range witnessKinds {
				if share := map[bool]int{true: 1, false: 4}[kind == "new"]; lost[kind]*100 > share*sent[kind] {
					t.Errorf("%s: %d of %d lost", kind, lost[kind], sent[kind])
				}
			}
			if o.withdrawn > 0 {
				t.Errorf("steering was off: %s", o)
			}
		})
	}
}

// floods are as fast as a pod can send.
var floods = []attack{
	spoofing(0, 100, lab.ClusterIP),
	spoofing(0, 100, lab.ClusterIP6),
	flooding("one hot name", 0, lab.ClusterIP, client.One(hotName, dns.TypeA)),
	flooding("noise", 0, lab.ClusterIP, client.Noise(1)),
	flooding("noise, IPv6", 0, lab.LinkLocal6, client.Noise(2)),
	flooding("two questions", 0, lab.ClusterIP, client.TwoQuestions(hotName)),
	flooding("cut off", 0, lab.ClusterIP, client.Cut(hotName)),
	flooding("1,400 octets", 0, lab.ClusterIP, client.Huge(hotName)),
	flooding("malformed cookies", 0, lab.ClusterIP, client.Malformed(hotName)),
	flooding("ANY", 0, lab.ClusterIP, client.One(hotName, dns.TypeANY)),
	flooding("AXFR", 0, lab.ClusterIP, client.One("cluster.local.", dns.TypeAXFR)),
	flooding("new names", 0, lab.ClusterIP, client.NewNames(3, "wild.cluster.local.")),
	flooding("new names, IPv6", 0, lab.ClusterIP6, client.NewNames(4, "wild.cluster.local.")),
	flooding("silent names", 0, lab.ClusterIP, client.NewNames(5, "slow.cluster.local.")),
	crowding(3000, client.Idle),
	crowding(200, client.Greedy),
}

// TestFloods lets a pod send as fast as it can, to a new process each time. It does not grow, and after each flood steering is on
// again, and SIGTERM ends it.
func TestFloods(t *testing.T) {
	s := newScene(t)
	for i, a := range floods {
		t.Run(a.name, func(t *testing.T) {
			if i > 0 {
				s.term(t)
				s.cache = s.again(t)
			}
			o := s.suffer(t, a, floodTime)
			o.bounded(t)
			inTime(t, "steering again", o.again, recovery, o.reports)
		})
	}
}

// outcome is what an attack has cost.
type outcome struct {
	amount    int // packets or connections
	took      time.Duration
	cpu       time.Duration // of the process, from the begin until steering was on
	most      process.Needs
	withdrawn float64
	again     time.Duration   // from its end until steering was on
	reports   []client.Report // of the bystander
}

// suffer has the attack last for some time while the bystander asks.
func (s *scene) suffer(t *testing.T, a attack, d time.Duration) outcome {
	t.Helper()
	var o outcome
	watch := s.Watch(t, s.page)
	withdrawn := s.counter(t, "coredns_nodelocal_withdrawals_total")
	s.attacks++
	tag := fmt.Sprintf("attack%d-", s.attacks)
	loads := client.StartAll(t, append(s.witness(lab.ClusterIP, tag+"4"), s.witness(lab.LinkLocal6, tag+"6")...)...)
	progress(t, loads, 2)
	begin, cpu := time.Now(), s.CPU(t)
	end := a.begin(t, s)
	<-time.After(d) // the attack
	o.amount, o.took = end(), time.Since(begin)
	o.again = s.waitSteering(t, true, 30*time.Second)
	o.cpu = s.CPU(t) - cpu
	o.reports = stop(t, loads)
	o.most = watch.Stop()
	o.withdrawn = s.counter(t, "coredns_nodelocal_withdrawals_total") - withdrawn
	s.lab.ClusterDNS.Forget()
	t.Logf("%s", o)
	return o
}

// bounded checks what the process needed.
func (o outcome) bounded(t *testing.T) {
	t.Helper()
	if o.most.RSS > attackedRSS || o.most.Goroutines > attackedGoroutines {
		t.Errorf("it took %s", o.most)
	}
}

// String is a line for the log.
func (o outcome) String() string {
	line := fmt.Sprintf("%d in %s, %s of CPU; %s; withdrawn %g times, steering %s after it;", o.amount, o.took.Round(time.Millisecond),
		o.cpu, o.most, o.withdrawn, o.again.Round(time.Millisecond))
	for i, r := range o.reports {
		line += fmt.Sprintf(" %s %d/%d (%s)", witnessKinds[i%len(witnessKinds)], len(r.Failures), r.Sent, r.Gap.Round(10*time.Millisecond))
	}
	return line
}
