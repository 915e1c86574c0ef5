// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/upstream"
	"github.com/nodelocaldns/nodelocaldns/e2e/soak"
)

// soakEvent is a kind of event with the number of its cards in the deck.
type soakEvent struct {
	soak.Kind
	often int
	do    func(s *soaking, t *testing.T)
}

// The groups of events, as the picture names them.
const (
	groupReloads   = "reload"
	groupRules     = "rules"
	groupUpstreams = "cluster DNS"
	groupProcesses = "process"
)

// soakEvents are all that happens. What a kind may cost is what episodes says of it, or less where README.md promises less: a reload
// may reset TCP connections, and an update costs nothing.
var soakEvents = []soakEvent{
	{soak.Kind{Name: "reload of a changed Corefile", Group: groupReloads, Gap: gaps(0, 0, 1)}, 30, (*soaking).changed},
	{soak.Kind{Name: "flush of the rules", Group: groupRules, Gap: gaps(2, 2, 2)}, 6, func(s *soaking, t *testing.T) {
		flushOf(s.options.firewall).do(t, s.cache)
	}},
	{noClusterDNS("cluster DNS silent"), 3, func(s *soaking, t *testing.T) { s.trouble(s.misbehave(t, upstream.Silent, true)) }},
	{soak.Kind{Name: "one of two pods of the cluster DNS silent", Group: groupUpstreams, Gap: gaps(0, 1, 0)}, 3,
		func(s *soaking, t *testing.T) {
			s.trouble(s.misbehave(t, upstream.Silent, false))
		}},
	{noClusterDNS("cluster DNS refuses"), 3, func(s *soaking, t *testing.T) { s.trouble(s.misbehave(t, upstream.Refusing, true)) }},
	{noClusterDNS("cluster DNS is a black hole"), 3, func(s *soaking, t *testing.T) {
		s.lab.LoseDNS(t, 1)
		s.trouble(func() { s.lab.FindDNS(t) })
	}},
	{noClusterDNS("cluster DNS hangs"), 3, func(s *soaking, t *testing.T) {
		s.lab.ClusterDNS.Freeze(t)
		s.trouble(func() { s.lab.ClusterDNS.Signal(t, syscall.SIGCONT) })
	}},
	{noClusterDNS("cluster DNS restarted"), 3, (*soaking).restartClusterDNS},
	{soak.Kind{Name: "some names answered after 1 s", Group: groupUpstreams}, 3, func(s *soaking, _ *testing.T) {
		s.lab.Slow.Delay(time.Second)
		s.trouble(func() { s.lab.Slow.Delay(0) })
	}},
	{soak.Kind{Name: "kill -9, and a start", Group: groupProcesses, Gap: gapsOf("kill -9")}, 1,
		func(s *soaking, t *testing.T) { s.host(t, "kill -9") }},
	{soak.Kind{Name: "SIGTERM, and a start", Group: groupProcesses}, 1, func(s *soaking, t *testing.T) { s.host(t, "SIGTERM") }},
	{soak.Kind{Name: "update by a second instance", Group: groupProcesses}, 1, (*soaking).update},
}

// gaps is for how many seconds the classes may have no answers.
func gaps(known, fresh, tcp float64) map[soak.Class]float64 {
	return map[soak.Class]float64{soak.Known: known, soak.New: fresh, soak.TCP: tcp}
}

// noClusterDNS is a kind of event in which there is no cluster DNS. Old answers are given meanwhile.
func noClusterDNS(name string) soak.Kind {
	return soak.Kind{Name: name, Group: groupUpstreams, Gap: gaps(0, 2, 0), Outage: true}
}

// hostEpisode is one of hosts.
func hostEpisode(name string) episode {
	return hosts[slices.IndexFunc(hosts, func(e episode) bool { return e.name == name })]
}

func gapsOf(name string) map[soak.Class]float64 {
	e := hostEpisode(name)
	return gaps(e.gap.Seconds(), max(e.gap, e.fresh).Seconds(), e.gap.Seconds())
}

// host has an episode of hosts last for a moment.
func (s *soaking) host(t *testing.T, name string) {
	end := hostEpisode(name).begin(t, s.victim, s.draw)
	<-time.After(time.Duration(500+s.draw.IntN(2000)) * time.Millisecond) // the time of it
	end()
}

// trouble has the cluster DNS be in trouble for some seconds.
func (s *soaking) trouble(end func()) {
	d := time.Duration(3000+s.draw.IntN(5000)) * time.Millisecond
	if s.once {
		d /= 3
	}
	<-time.After(d) // the time of it
	end()
}

// changed gives the cache a template with one more zone, another one each time, and waits until the zone is served.
func (s *soaking) changed(t *testing.T) {
	s.reloads++
	zone := fmt.Sprintf("reload%d.test", s.reloads)
	s.setBase(t, s.options.base+zoneBlock(zone, dual))
	waitZone(t, s.lab, zone, dual...)
}

// restartClusterDNS kills the cluster DNS and starts it again.
func (s *soaking) restartClusterDNS(t *testing.T) {
	s.lab.ClusterDNS.Signal(t, syscall.SIGKILL)
	s.lab.ClusterDNS.Wait(t, 10*time.Second)
	s.trouble(func() {
		s.lab.ClusterDNS = upstream.StartServer(s.t, s.lab.DNS, upstream.ClusterCorefile(s.t, lab.OutsideIP))
		harness.Until(t, 20*time.Second, "answer of the cluster DNS", func() error {
			_, err := client.Ask(s.lab.Node, client.Query{
				Server: client.Port53(lab.DNSPodIP), Name: "kubernetes.default.svc.cluster.local.", Type: dns.TypeA, Timeout: time.Second})
			return err
		})
	})
}

// update starts another instance beside the cache, and ends the older one when both have served for some time.
func (s *soaking) update(t *testing.T) {
	o := s.options
	o.metrics = map[int]int{9253: 9254, 9254: 9253}[o.metrics]
	next := start(s.t, s.lab, o)
	<-time.After(time.Duration(1000+s.draw.IntN(2000)) * time.Millisecond) // the time of both
	s.term(t)
	s.readable(t)
	s.cache, s.checked = next, 0
}
