// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

// bad is an input that cannot work, and what the message must name.
type bad struct {
	name    string
	args    []string
	base    string // template; empty: a good one
	env     []string
	prepare func(t *testing.T, n *netns.Namespace)
	wrap    []string // what runs the program
	code    int
	names   []string // what the message names
	line    string   // what stands in the line of the file that it names, if it does
	nothing bool     // no fallback table: nobody knows a target, or may make one
}

var badInputs = []bad{
	{name: "unknown flag", args: []string{"-nosuchflag"}, code: 2, names: []string{"-nosuchflag"}},
	{name: "unknown command", args: []string{"nosuchcommand"}, code: 2, names: []string{"nosuchcommand"}},
	{name: "bad IP", args: []string{"-localip", "169.254.20.300"}, code: 2, names: []string{"-localip", "169.254.20.300"}},
	{name: "bad duration", args: []string{"-syncinterval", "3parsecs"}, code: 2, names: []string{"-syncinterval", "3parsecs"}},
	{name: "bad lease", args: []string{"-lease", "soon"}, code: 2, names: []string{"-lease", "soon"}},
	{name: "bad port", args: []string{"-dns.port", "66000"}, code: 2, names: []string{"-dns.port", "66000"}},
	{name: "bad health port", args: []string{"-health-port", "http"}, code: 2, names: []string{"-health-port", "http"}},
	{name: "unreadable template", args: []string{"-basecorefile", "/nonexistent/Corefile.base"}, code: 1, names: []string{"/nonexistent/Corefile.base"}},
	{name: "unknown directive", base: ".:53 {\n    errors\n    nosuchdirective\n    bind 169.254.20.10\n}\n", code: 1, names: []string{"nosuchdirective", "Corefile.base:3"}, line: "nosuchdirective"},
	{name: "directive not compiled in", base: ".:53 {\n    trace\n}\n", code: 1, names: []string{"trace", "plugin.cfg"}, line: "trace"},
	{name: "bad argument of a directive", base: ".:53 {\n    errors\n    bind 169.254.20.10 10.96.0.10\n    forward .\n}\n", code: 1, names: []string{"forward"}, line: "forward ."},
	{name: "template syntax error", base: ".:53 {\n    errors\n    bind 169.254.20.10\n", code: 1, names: []string{"Corefile.base:1", "brace"}, line: ".:53 {"},
	{name: "missing upstream Service", env: []string{"KUBE_DNS_UPSTREAM_SERVICE_HOST="}, code: 1, names: []string{"KUBE_DNS_UPSTREAM_SERVICE_HOST", "__PILLAR__CLUSTER__DNS__"}, line: "__PILLAR__CLUSTER__DNS__", nothing: true},
	{name: "address in use", prepare: occupy, code: 1, names: []string{".10:53", "in use"}},
	{name: "no privilege", wrap: []string{"setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"}, code: 1, names: []string{"CAP_NET_ADMIN"}, nothing: true},
	{name: "foreign interface", prepare: foreignLink, code: 1, names: []string{"nodelocaldns", "not ours"}},
	{name: "address on another interface", prepare: foreignAddress, code: 1, names: []string{"169.254.20.10", "elsewhere"}},
	{name: "no TUN", wrap: noMknod, args: []string{"-link", "tun"}, prepare: noTUN, code: 1, names: []string{"/dev/net/tun"}},
	{name: "neither TUN nor dummy", wrap: noMknod, prepare: noTUNNorDummy, code: 1, names: []string{"/dev/net/tun", "dummy"}},
}

// occupy listens on all addresses without sharing the port.
func occupy(t *testing.T, n *netns.Namespace) {
	var conn net.PacketConn
	err := n.Run(func() (err error) {
		conn, err = net.ListenPacket("udp", ":53")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
}

func foreignLink(t *testing.T, n *netns.Namespace) {
	n.Exec(t, "", "ip", "link", "add", "nodelocaldns", "type", "veth", "peer", "name", "other")
}

func foreignAddress(t *testing.T, n *netns.Namespace) {
	n.Exec(t, "", "ip", "link", "add", "elsewhere", "type", "veth", "peer", "name", "other")
	n.Exec(t, "", "ip", "addr", "add", "169.254.20.10/32", "dev", "elsewhere")
}

// noMknod starts a program that cannot make a device's file for itself.
var noMknod = []string{"setpriv", "--bounding-set=-mknod", "--inh-caps=-mknod"}

func noTUN(t *testing.T, n *netns.Namespace) { n.Mask(t, "/dev/net", harness.Dir(t)) }

func noTUNNorDummy(t *testing.T, n *netns.Namespace) {
	if lab.HasDummy(t) == nil {
		t.Skip("skipped: this kernel makes dummy links")
	}
	noTUN(t, n)
}

// TestBadInput starts the program with inputs that cannot work: it ends at once with a line that names the culprit. On the node
// it has made the fallback table, so that 169.254.20.10 is answered, and changed nothing else; a wrong command line makes nothing.
func TestBadInput(t *testing.T) {
	harness.Require(t)
	for _, b := range badInputs {
		t.Run(b.name, func(t *testing.T) { b.run(t) })
	}
}

func (b bad) run(t *testing.T) {
	n := netns.New(t, "node")
	n.ResolvConf(t, fmt.Sprintf("nameserver %s\n", lab.OutsideIP))
	if b.prepare != nil {
		b.prepare(t, n)
	}
	tools := lab.NewTools(t, lab.IPTablesNFT)
	before := n.State(t)
	command := append(append([]string{}, b.wrap...), harness.NodeLocalDNS(t))
	command = append(command, b.arguments(t)...)
	p := process.Start(t, n, process.Command{
		Path: harness.Which(t, command[0]), Args: command[1:],
		Env: append([]string{"PATH=" + tools.Dir, "KUBE_DNS_UPSTREAM_SERVICE_HOST=10.96.0.11"}, b.env...),
	})
	if code := p.Wait(t, 10*time.Second); code != b.code {
		t.Errorf("exit code %d, want %d", code, b.code)
	}
	message := p.Errors()
	if strings.Count(message, "\n") > 0 || strings.Contains(message, "goroutine") || message == "" {
		t.Errorf("want one line on stderr:\n%s", message)
	}
	for _, name := range b.names {
		if !strings.Contains(message, name) {
			t.Errorf("the message does not name %q: %s", name, message)
		}
	}
	if line := lineNamed(t, message); !strings.Contains(line, b.line) {
		t.Errorf("the message names the line %q: %s", line, message)
	}
	made := n.State(t).Without(before)
	table := made.With("nft table ip nodelocaldns_fallback")
	if others := made.Without(table); len(others) > 0 {
		t.Errorf("left on the node:\n%s", others)
	}
	if want := b.code == 1 && !b.nothing; want != (len(table.With("ip daddr set 10.96.0.11")) > 0) || !want && len(table) > 0 {
		t.Errorf("the fallback table is to be there: %t; it is\n%s", want, table)
	}
	if lost := before.Without(n.State(t)); len(lost) > 0 {
		t.Errorf("taken from the node:\n%s", lost)
	}
	t.Log(message)
}

var position = regexp.MustCompile(`(/\S+):(\d+):`)

// lineNamed is the line of a file that the message names as FILE:LINE, empty if it names none.
func lineNamed(t *testing.T, message string) string {
	t.Helper()
	m := position.FindStringSubmatch(message)
	if m == nil {
		return ""
	}
	text, err := os.ReadFile(m[1])
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(m[2])
	lines := strings.Split(string(text), "\n")
	if err != nil || n < 1 || n > len(lines) {
		t.Fatalf("no line %s in %s", m[2], m[1])
	}
	return lines[n-1]
}

func (b bad) arguments(t *testing.T) []string {
	if len(b.args) > 0 && !strings.HasPrefix(b.args[0], "-") {
		return b.args
	}
	base := b.base
	if base == "" {
		base = fourBlocks(ipv4)
	}
	return append([]string{
		"-localip", join(ipv4), "-conf", harness.Dir(t) + "/Corefile", "-basecorefile", harness.WriteFile(t, "Corefile.base", base),
		"-upstreamsvc", "kube-dns-upstream", "-firewall", "iptables", "-quiet",
	}, b.args...)
}

// TestBadConfigMap breaks the ConfigMap and the template of a running cache. It says so once, counts it, and serves on as it
// was; what is repaired takes effect.
func TestBadConfigMap(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.NFTables)
	kubeDNS := harness.Dir(t)
	c := start(t, l, options{firewall: lab.NFTables, args: []string{"-kubednscm", kubeDNS}})
	loads := client.StartAll(t, clients(l, ipv4...)...)
	progress(t, loads, 2)
	half := c.options.base[:len(c.options.base)/2]
	for i, step := range []struct {
		name  string
		do    func()
		names []string
	}{
		{"malformed", func() { harness.Replace(t, kubeDNS+"/stubDomains", `{"extra.test": "not a list"`) }, []string{"stubDomains", kubeDNS}},
		{"bad address", func() { harness.Replace(t, kubeDNS+"/stubDomains", `{"extra.test": ["10.1.2.333"]}`) }, []string{"stubDomains", "10.1.2.333"}},
		{"half a template", func() { harness.Remove(t, kubeDNS+"/stubDomains"); c.setBase(t, half) }, []string{"Corefile"}},
	} {
		step.do()
		c.waitMetric(t, 10*time.Second, float64(i+1), "coredns_nodelocal_config_reloads_total", `result="error"`)
		c.validIs(t, 0)
		harness.Until(t, saidTimeout, "line in the log", func() error { // it may come after the metric
			if n := strings.Count(c.Output(), "[ERROR]"); n <= i {
				return fmt.Errorf("%d errors", n)
			}
			return nil
		})
		line := lastError(c.Output())
		for _, name := range step.names {
			if !strings.Contains(line, name) {
				t.Errorf("%s: the log does not name %q: %s", step.name, name, line)
			}
		}
		t.Logf("%s: %s", step.name, line)
		<-time.After(5 * time.Second) // two more looks at it
		if n := strings.Count(c.Output(), line); n != 1 {
			t.Errorf("%s: said %d times: %s", step.name, n, line)
		}
	}
	noFailure(t, stop(t, loads))
	loads = client.StartAll(t, clients(l, ipv4...)...)
	progress(t, loads, 2)
	c.setBase(t, c.options.base+extraBlock(ipv4))
	waitExtra(t, l, ipv4...)
	c.validIs(t, 1)
	harness.Replace(t, kubeDNS+"/stubDomains", fmt.Sprintf(`{"example.org": [%q]}`, lab.DNSPodIP))
	waitStub(t, l)
	progress(t, loads, 2)
	acceptedOnly(t, loads, stop(t, loads))
	c.Signal(t, syscall.SIGTERM)
}

// waitStub waits until names of the stub domain are asked at its server, over UDP.
func waitStub(t *testing.T, l *lab.Lab) {
	t.Helper()
	n := 0
	harness.Until(t, 10*time.Second, "the stub domain", func() error {
		n++
		name := fmt.Sprintf("stub%d.example.org.", n)
		if _, err := client.Ask(l.Pod, client.Query{Server: client.Port53(lab.LinkLocal), Name: name, Type: 1, Timeout: time.Second}); err != nil {
			return err
		}
		if seen := askedAt(l.ClusterDNS, name); len(seen) != 1 || seen[0].Proto != "udp" {
			return fmt.Errorf("asked at the cluster DNS: %v", seen)
		}
		return nil
	})
}

// lastError is the last line of the log at that level.
func lastError(output string) string {
	last := ""
	for line := range strings.Lines(output) {
		if strings.Contains(line, "[ERROR]") {
			last = strings.TrimSpace(line)
		}
	}
	return last
}
