// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

// options are what tells one start of the cache from another.
type options struct {
	firewall lab.Backend
	link     string       // empty: tun
	addrs    []netip.Addr // empty: those of ipv4
	fallback string       // empty: left to the program
	base     string       // template; empty: fourBlocks(addrs)
	conf     bool         // run base as it is, without -localip
	line     []string     // all arguments, as of a manifest; empty: arguments() makes them
	metrics  int          // port; 0: 9253
	args     []string
	env      []string
	program  string   // path; empty: harness.NodeLocalDNS
	under    []string // a command that runs the program; empty: none
	out      *os.File // stdout and stderr; nil: Output has them
}

// cache is a running nodelocaldns.
type cache struct {
	*process.Process
	owner   testing.TB // the test that the process, also one that is started again, ends with
	lab     *lab.Lab
	options options
	tools   *lab.Tools
	dir     string
	started time.Time
}

// The addresses of the cache, first the link-local one and then the ClusterIP in each family.
var (
	ipv4 = []netip.Addr{lab.LinkLocal, lab.ClusterIP}
	ipv6 = []netip.Addr{lab.LinkLocal6, lab.ClusterIP6}
	dual = append(append([]netip.Addr{}, ipv4...), ipv6...)
)

// steeringTimeout bounds the time from a start to steering. Promise 4 of README.md is one second on an idle machine.
var steeringTimeout = either(10*time.Second, time.Minute)

// againTimeout bounds the wait for a cache to steer again that another instance or a standstill kept from it.
var againTimeout = either(20*time.Second, time.Minute)

// start runs the cache on the lab's node with the arguments of the usual manifests, and waits until it steers.
func start(t testing.TB, l *lab.Lab, o options) *cache {
	t.Helper()
	c := launch(t, l, o)
	c.waitSteering(t, true, steeringTimeout)
	return c
}

// launch is start without the wait.
func launch(t testing.TB, l *lab.Lab, o options) *cache {
	t.Helper()
	o = o.withDefaults(t)
	c := &cache{owner: t, lab: l, options: o, tools: lab.NewTools(t, o.firewall), dir: harness.Dir(t)}
	c.setBase(t, o.base)
	c.run()
	return c
}

func (o options) withDefaults(t testing.TB) options {
	if len(o.addrs) == 0 {
		o.addrs = ipv4
	}
	if o.link == "" {
		o.link = "tun"
	}
	if o.base == "" {
		o.base = fourBlocks(o.addrs)
	}
	if o.metrics == 0 {
		o.metrics = 9253
	}
	if o.program == "" {
		o.program = harness.NodeLocalDNS(t)
	}
	if o.fallback == "" && o.addrs[0].Is4() && o.addrs[len(o.addrs)-1].Is6() {
		o.fallback = fmt.Sprintf("%s,%s", lab.ClusterIP, lab.ClusterIP6)
	}
	return o
}

// arguments are those of the usual manifests, and what the lab needs.
func (c *cache) arguments() []string {
	o := c.options
	if len(o.line) > 0 {
		return o.line
	}
	if o.conf {
		return append([]string{"-conf", c.base(), "-quiet"}, o.args...)
	}
	args := []string{
		"-localip", join(o.addrs), "-conf", c.conf(), "-basecorefile", c.base(),
		"-upstreamsvc", "kube-dns-upstream", "-health-port", "8080",
		"-link", o.link, "-firewall", firewallFlag(o.firewall),
		"-quiet", "-prometheus-listen-address", fmt.Sprintf(":%d", o.metrics),
	}
	if o.fallback != "" {
		args = append(args, "-fallback", o.fallback)
	}
	return append(args, o.args...)
}

// run starts the program, also again after it has ended.
func (c *cache) run() {
	c.owner.Helper()
	c.started = time.Now()
	line := append(slices.Clone(c.options.under), append([]string{c.options.program}, c.arguments()...)...)
	c.Process = process.Start(c.owner, c.lab.Node, process.Command{
		Path: line[0], Args: line[1:], Env: append(c.environment(), c.options.env...), Out: c.options.out,
	})
}

func (c *cache) environment() []string {
	upstream, kubeDNS := lab.UpstreamIP, lab.ClusterIP
	if c.options.addrs[0].Is6() {
		upstream, kubeDNS = lab.UpstreamIP6, lab.ClusterIP6
	}
	return []string{
		"PATH=" + c.tools.Dir, fmt.Sprintf("KUBE_DNS_UPSTREAM_SERVICE_HOST=%s", upstream),
		fmt.Sprintf("KUBE_DNS_SERVICE_HOST=%s", kubeDNS),
	}
}

// again starts the program anew with the same files and arguments, and waits until it steers.
func (c *cache) again(t testing.TB) *cache {
	t.Helper()
	next := *c
	next.run()
	next.waitSteering(t, true, steeringTimeout)
	return &next
}

func (c *cache) conf() string { return filepath.Join(c.dir, "Corefile") }
func (c *cache) base() string { return filepath.Join(c.dir, "Corefile.base") }

// setBase writes the template.
func (c *cache) setBase(t testing.TB, text string) {
	t.Helper()
	harness.Replace(t, c.base(), text)
}

// term stops the cache as Kubernetes does.
func (c *cache) term(t testing.TB) {
	t.Helper()
	c.Signal(t, syscall.SIGTERM)
	if code := c.Wait(t, 20*time.Second); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
}

// kill ends it as the kernel's out-of-memory killer does, and returns the time that this took the kernel.
func (c *cache) kill(t testing.TB) client.Window {
	t.Helper()
	begin := time.Now()
	c.Signal(t, syscall.SIGKILL)
	c.Wait(t, 10*time.Second)
	return client.Window{Begin: begin, End: time.Now()}
}

// waitSteering waits until steering is on, or off, at all addresses and returns how long that took.
func (c *cache) waitSteering(t testing.TB, on bool, timeout time.Duration) time.Duration {
	t.Helper()
	want := map[bool]float64{true: 1}[on]
	return harness.Until(t, timeout, fmt.Sprintf("steering=%t", on), func() error {
		if !c.Running() {
			t.Fatalf("the cache has ended:\n%s", c.Output())
		}
		page, err := c.page()
		if err != nil {
			return err
		}
		for _, a := range c.options.addrs {
			v, err := process.Metric(page, "coredns_nodelocal_steering", fmt.Sprintf("address=%q", a))
			if err != nil || v != want {
				return fmt.Errorf("%s: %g, %v", a, v, err)
			}
		}
		return nil
	})
}

// settle waits until the rules are the final ones: for a while after steering went on, TCP connections that were in use
// are left where they are.
func (c *cache) settle(t testing.TB) {
	t.Helper()
	harness.Until(t, 20*time.Second, "settled rules", func() error {
		for _, line := range c.lab.Node.State(t) {
			iptables := strings.Contains(line, "-A NODELOCALDNS") && strings.Contains(line, "--tcp-flags")
			nft := strings.HasPrefix(line, "nft table ip") && strings.Contains(line, " nodelocaldns chain") && strings.Contains(line, "tcp flags syn")
			if iptables || nft {
				return errors.New(line)
			}
		}
		return nil
	})
}

// said waits until the log has the text, and checks that it is there once. The log comes after the metric of the same event.
func (c *cache) said(t testing.TB, text string) {
	t.Helper()
	c.WaitOutput(t, saidTimeout, text)
	if n := strings.Count(c.Output(), text); n != 1 {
		t.Errorf("said %d times: %q:\n%s", n, text, c.Output())
	}
}

// saidTimeout bounds the wait for a line of the log.
const saidTimeout = 10 * time.Second

// page is the cache's metrics.
func (c *cache) page() (string, error) {
	return c.lab.Node.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", c.options.metrics))
}

// fetch is page for a process that answers, if not at once.
func (c *cache) fetch(t testing.TB) (page string) {
	t.Helper()
	harness.Until(t, 10*time.Second, "page of metrics", func() (err error) {
		page, err = c.page()
		return err
	})
	return page
}

// metric reads one metric.
func (c *cache) metric(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	v, err := process.Metric(c.fetch(t), name, labels...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// waitMetric waits until a metric has reached a value.
func (c *cache) waitMetric(t testing.TB, timeout time.Duration, least float64, name string, labels ...string) {
	t.Helper()
	harness.Until(t, timeout, fmt.Sprintf("%s%v of %g", name, labels, least), func() error {
		page, err := c.page()
		if err != nil {
			return err
		}
		v, err := process.Metric(page, name, labels...)
		if err == nil && v < least {
			err = fmt.Errorf("%g", v)
		}
		return err
	})
}

// metricIs waits until a metric has a value.
func (c *cache) metricIs(t testing.TB, want float64, name string, labels ...string) {
	t.Helper()
	harness.Until(t, 20*time.Second, fmt.Sprintf("%s%v of %g", name, labels, want), func() error {
		page, err := c.page()
		if err != nil {
			return err
		}
		v, err := process.Metric(page, name, labels...)
		if err == nil && v != want {
			err = fmt.Errorf("%g", v)
		}
		return err
	})
}

// kept waits until the configuration is kept for the next start, which happens after it is known as valid.
func (c *cache) kept(t testing.TB, state string) {
	t.Helper()
	harness.Until(t, 10*time.Second, "configuration that is kept", func() error {
		return c.lab.Node.Run(func() error {
			_, err := os.Stat(filepath.Join(state, "Corefile.last-good"))
			return err
		})
	})
}

func firewallFlag(b lab.Backend) string {
	if b == lab.NFTables {
		return "nftables"
	}
	return "iptables"
}

func join(addrs []netip.Addr) string {
	var s []string
	for _, a := range addrs {
		s = append(s, a.String())
	}
	return strings.Join(s, ",")
}
