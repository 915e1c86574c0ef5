// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
)

const (
	// loopTimeout is how long a cache may run whose upstream is the cache.
	loopTimeout = 10 * time.Second
	// looped is what the cache itself says, and eitherLooped what CoreDNS's plugin may say before it.
	looped       = `Shutting down: a loop: queries in zone `
	eitherLooped = `(Shutting down: a loop: queries in|plugin/loop: Loop .* detected for) zone `
)

// A loopFault is a template with the cache as its own upstream, where rendering does not look.
type loopFault struct{ name, variable, upstream, zone string }

var loopFaults = []loopFault{
	{"link-local address", "__PILLAR__CLUSTER__DNS__", lab.LinkLocal.String(), ""}, // of three zones, whichever is seen first
	{"ClusterIP", "__PILLAR__CLUSTER__DNS__", lab.ClusterIP.String(), ""},
	{"resolv.conf", "__PILLAR__UPSTREAM__SERVERS__", "/etc/resolv.conf", `"."`},
}

// template returns the text, and has the file that it names say what makes it wrong.
func (f loopFault) template(t *testing.T, l *lab.Lab) string {
	t.Helper()
	if f.name == "resolv.conf" {
		l.Node.ResolvConf(t, fmt.Sprintf("nameserver %s\n", lab.ClusterIP))
	}
	return strings.ReplaceAll(fourBlocks(dual), f.variable, f.upstream)
}

// TestLoopEnvironment gives the cache itself as its upstream where rendering does look.
func TestLoopEnvironment(t *testing.T) {
	l := lab.New(t, lab.NFTables)
	c := launch(t, l, options{firewall: lab.NFTables, addrs: dual,
		env: []string{fmt.Sprintf("KUBE_DNS_UPSTREAM_SERVICE_HOST=%s", lab.LinkLocal)}})
	endsOfLoop(t, c, `169.254.20.10 of Service "kube-dns-upstream" is an address of this cache`)
	answered(t, l, dual)
}

// TestLoop has the process see that its queries come back. It ends: without a client, and with clients, whom the cluster DNS
// answers from then on.
func TestLoop(t *testing.T) {
	for _, firewall := range lab.Backends {
		for _, fault := range loopFaults {
			for load, addrs := range map[string][]netip.Addr{"no load": nil, "load": clusterIPs(dual)} {
				t.Run(fmt.Sprintf("%s/%s/%s", firewall, fault.name, load), func(t *testing.T) {
					l := lab.New(t, firewall)
					loads := client.StartAll(t, clients(l, addrs...)...)
					progress(t, loads, 4)
					c := launch(t, l, options{firewall: firewall, addrs: dual, base: fault.template(t, l)})
					ended := endsOfLoop(t, c, looped+fault.zone)
					answered(t, l, dual)
					progress(t, loads, 10)
					notLostSince(t, stop(t, loads), ended)
				})
			}
		}
	}
}

// TestLoopReload has a loop come with a reload. Then CoreDNS's plugin sees it as well.
func TestLoopReload(t *testing.T) {
	l := lab.New(t, lab.NFTables)
	c := start(t, l, options{firewall: lab.NFTables, addrs: dual})
	loads := client.StartAll(t, clients(l, clusterIPs(dual)...)...)
	progress(t, loads, 4)
	c.setBase(t, loopFaults[0].template(t, l))
	ended := endsOfLoop(t, c, eitherLooped)
	answered(t, l, dual)
	progress(t, loads, 10)
	notLostSince(t, stop(t, loads), ended)
}

// notLostSince checks that the cluster DNS answers clients after the process has ended.
func notLostSince(t *testing.T, reports []client.Report, ended time.Time) {
	t.Helper()
	for _, r := range reports {
		if lost := r.In(client.Window{Begin: ended.Add(inFlight + r.Stall), End: time.Now()}); len(lost.Failures) > 0 {
			t.Errorf("the process ended at %s: %s", clock(ended), lost)
		}
	}
}

// endsOfLoop waits until the process has ended as it must, saying why (a regular expression), and returns when that was.
func endsOfLoop(t *testing.T, c *cache, says string) time.Time {
	t.Helper()
	begin := time.Now()
	if code := c.Wait(t, loopTimeout); code != 1 {
		t.Errorf("exit code %d", code)
	}
	ended := time.Now()
	t.Logf("after %s", ended.Sub(begin))
	if !regexp.MustCompile(says).MatchString(c.Output()) {
		t.Errorf("it does not say %s:\n%s", says, c.Output())
	}
	noLink(t, c.lab)
	return ended
}
