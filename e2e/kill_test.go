// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

// TestKill kills the cache under load, three times. At most the query in flight of each client fails; the cluster DNS answers
// the next one, also at the link-local address, and a new start takes over without loss.
func TestKill(t *testing.T) {
	for _, firewall := range lab.Backends {
		for _, family := range families {
			t.Run(string(firewall)+"/"+family.name, func(t *testing.T) {
				l := lab.New(t, firewall)
				before := l.Node.State(t)
				c := start(t, l, options{firewall: firewall, addrs: family.addrs})
				loads := client.StartAll(t, clients(l, family.addrs...)...)
				var kills []client.Window
				for range 3 {
					progress(t, loads, 10)
					kills = append(kills, c.kill(t))
					noLink(t, l)
					progress(t, loads, 10)
					c = c.again(t)
				}
				inFlightOnly(t, stop(t, loads), loads, kills)
				bothAnswered(t, l)
				c.kill(t)
				cleaned(t, l, before)
			})
		}
	}
}

// TestKillConnected is the known limit: a connected UDP socket of the host that was made while the cache was there has the
// cache's address as its source, and cannot send while that is away. It must go on by itself when the cache is back.
func TestKillConnected(t *testing.T) {
	for _, firewall := range lab.Backends {
		t.Run(string(firewall), func(t *testing.T) {
			l := lab.New(t, firewall)
			c := start(t, l, options{firewall: firewall, addrs: dual})
			var probes []client.Probe
			for _, a := range dual {
				probes = append(probes, client.Probe{From: l.Node, Target: a, Socket: client.Long})
			}
			loads := client.StartAll(t, probes...)
			progress(t, loads, 10)
			killed := c.kill(t)
			noLink(t, l)
			c.again(t)
			back := client.Window{Begin: killed.Begin.Add(-inFlight), End: time.Now()}
			progress(t, loads, 10)
			for _, r := range stop(t, loads) {
				back.Begin = killed.Begin.Add(-flight(r))
				if lost := r.Outside(back); len(lost.Failures) > 0 {
					t.Errorf("lost when it should not be felt: %s", lost)
				}
			}
		})
	}
}

func noLink(t *testing.T, l *lab.Lab) {
	t.Helper()
	harness.Until(t, 10*time.Second, "end of the link", func() error {
		if link := l.Node.State(t).With("nodelocaldns type"); len(link) > 0 {
			return errors.New(link.String())
		}
		return nil
	})
}

// inFlight is how long before an event a query may have been sent and still be in flight.
var inFlight = either(250*time.Millisecond, time.Second)

// flight is inFlight for a probe's queries. On a busy machine it is the time that one with an answer took, and the time for which the
// probe stood still.
func flight(r client.Report) time.Duration { return max(inFlight, r.Latest) + r.Stall }

// usual is the time that a query takes, in which the next ones of a quick client are sent: that of nine in ten, or longer on a machine
// that stood still.
func usual(r client.Report) time.Duration { return max(r.Quantile(0.9), r.Stall) }

// inFlightOnly checks that each probe lost at most the queries in flight at each event and those that it sent while the
// kernel ended the process, and none at another time.
func inFlightOnly(t *testing.T, reports []client.Report, loads []*client.Load, events []client.Window) {
	t.Helper()
	for i, r := range reports {
		var around []client.Window
		for _, e := range events {
			before := client.Window{Begin: e.Begin.Add(-flight(r)), End: e.Begin}
			during := client.Window{Begin: e.Begin, End: e.End.Add(20 * time.Millisecond)}
			around = append(around, before, during)
			interval := loads[i].Interval
			waiting, asked := r.In(before), r.In(during)
			if len(waiting.Failures) > 1+int(usual(r)/interval) || len(asked.Failures) > 1+int(e.End.Sub(e.Begin)/interval) {
				t.Errorf("killed from %s to %s: in flight %s; sent meanwhile %s", clock(e.Begin), clock(e.End), waiting, asked)
			}
		}
		if lost := r.Outside(around...); len(lost.Failures) > 0 {
			t.Errorf("lost at another time than the kills at %s: %s", moments(events), lost)
		}
	}
}

func moments(events []client.Window) string {
	s := ""
	for _, e := range events {
		s += " " + clock(e.Begin)
	}
	return strings.TrimSpace(s)
}

// cleaned runs the cleanup command and checks that nothing is left.
func cleaned(t *testing.T, l *lab.Lab, before netns.State) {
	t.Helper()
	out := l.Node.Exec(t, "", harness.NodeLocalDNS(t), "cleanup")
	if left := l.Node.State(t).Without(before); len(left) > 0 {
		t.Errorf("left on the node after cleanup, which printed %q:\n%s", out, left)
	}
	if again := l.Node.Exec(t, "", harness.NodeLocalDNS(t), "cleanup"); again != "nothing to remove\n" {
		t.Errorf("the second cleanup printed %q", again)
	}
}
