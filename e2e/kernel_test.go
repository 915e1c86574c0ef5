// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"cmp"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

// TestKernel starts the cache as the image does, with all kinds of iptables and the choice left to it. What the kernel lacks
// is said in one line, and the cache serves; or it ends with that line, and the node goes on without it. The environment
// says what kind of kernel this is.
func TestKernel(t *testing.T) {
	harness.Require(t)
	name := cmp.Or(os.Getenv("NODELOCALDNS_KERNEL"), "complete")
	i := slices.IndexFunc(lab.Kernels, func(k lab.Kernel) bool { return k.Name == name })
	if i < 0 {
		t.Fatalf("NODELOCALDNS_KERNEL=%q is none of lab.Kernels", name)
	}
	k := lab.Kernels[i]
	l := lab.New(t, k.Proxy)
	c := launch(t, l, options{
		firewall: lab.NFTables, link: "auto", addrs: dual,
		args: []string{"-firewall", "auto"}, env: []string{"PATH=" + os.Getenv("PATH")},
	})
	if k.Ends != "" {
		if code := c.Wait(t, steeringTimeout); code != 1 || !strings.HasPrefix(c.Errors(), k.Ends) || strings.Contains(c.Errors(), "\n") {
			t.Errorf("exit code %d, want 1 and one line that begins with %q:\n%s", code, k.Ends, c.Errors())
		}
	} else {
		c.waitSteering(t, true, steeringTimeout)
		answered(t, l, dual)
		warned(t, c, k.Warns)
		c.term(t)
	}
	answered(t, l, clusterIPs(dual))
}

// answered asks from pod and host over both protocols.
func answered(t *testing.T, l *lab.Lab, addrs []netip.Addr) {
	t.Helper()
	want := answer{"web.default.svc.cluster.local.", dns.TypeA, dns.RcodeSuccess, 1, "10.96.7.7"}
	for _, a := range addrs {
		for _, from := range []*netns.Namespace{l.Pod, l.Node} {
			for _, tcp := range []bool{false, true} {
				check(t, from, a, tcp, want)
			}
		}
	}
}

// warned checks that the log has these warnings, each once, and no other.
func warned(t *testing.T, c *cache, want []string) {
	t.Helper()
	for _, text := range want {
		c.WaitOutput(t, saidTimeout, text)
	}
	var got []string
	for line := range strings.Lines(c.Output()) {
		for _, level := range []string{"[WARNING] plugin/nodelocal: ", "[ERROR] plugin/nodelocal: ", "[WARNING] ", "[ERROR] "} {
			if _, said, ok := strings.Cut(line, level); ok {
				got = append(got, strings.TrimSpace(said))
				break
			}
		}
	}
	fits := len(got) == len(want)
	for i := range min(len(got), len(want)) {
		fits = fits && strings.HasPrefix(got[i], want[i])
	}
	if !fits {
		t.Errorf("warnings:\n%s\nwant lines that begin with:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	t.Logf("%s", strings.Join(got, "\n"))
}
