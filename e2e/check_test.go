// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/upstream"
)

// checkTime bounds the whole check.
var checkTime = either(5*time.Second, 20*time.Second)

// A planted fault is to be found by the command check.
type planted struct {
	name  string
	id    string // of the finding
	says  string // is in the finding
	plant func(t *testing.T, l *lab.Lab) (undo func())
	args  []string    // more arguments
	wrap  []string    // what runs the program
	old   string      // a word of the template, once in it
	bad   string      // what takes its place
	tools lab.Backend // commands that the program finds
}

// checkTemplate has each directive on a line of its own. The line of the fault is that of the word which is replaced.
const checkTemplate = `# The blocks of a cluster.
__PILLAR__DNS__DOMAIN__:53 {
    errors
    cache {
        success 9984 30
        prefetch 500 5s
    }
    reload 5s
    bind __PILLAR__LOCAL__DNS__
    forward . __PILLAR__CLUSTER__DNS__ {
        force_tcp
    }
    prometheus :9253
    health 169.254.20.10:8080
}
.:53 {
    bind __PILLAR__LOCAL__DNS__
    loadbalance round_robin
    forward . __PILLAR__UPSTREAM__SERVERS__
}
`

var plantedInFiles = []planted{
	{name: "duration", old: "500 5s", bad: "500 5", says: ":6: cache: prefetch 500 5: a duration needs a unit, such as 5s"},
	{name: "number", old: "9984 30", bad: "9984 abc", says: `:5: cache: success 9984 abc: "abc" is not a number`},
	{name: "property", old: "force_tcp", bad: "frobnicate", says: ":11: forward: frobnicate: unknown property 'frobnicate'"},
	{name: "interval", old: "reload 5s", bad: "reload 1", says: ":8: reload 1: a duration needs a unit, such as 1s"},
	{name: "port", old: "169.254.20.10:8080", bad: "A:99999", says: `:14: health A:99999: "99999" is no port`},
	{name: "address", old: "prometheus :9253", bad: "prometheus 9253", says: `:13: prometheus 9253: "9253" lacks a port`},
	{name: "removed directive", old: "errors", bad: "proxy . 1.2.3.4", says: `:3: unknown directive "proxy": use forward`},
	{name: "policy", old: "round_robin", bad: "robin", says: ":18: loadbalance robin: unknown policy: robin"},
	{name: "server", old: "__PILLAR__UPSTREAM__SERVERS__", bad: "192.0.2.300", says: `:19: forward . 192.0.2.300: "192.0.2.300" is no address`},
	{name: "brace", old: "    reload 5s", bad: "}", says: ":"},
	{name: "stanza", old: "errors", bad: "nodelocal 169.254.20.11", says: ":3: address 169.254.20.11: no server would answer there"},
}

var plantedOnNode = []planted{
	{name: "another DNS server", id: "port", says: "0.0.0.0:53 is taken, the port for DNS: pid ", plant: listens("udp4", "0.0.0.0:53")},
	{name: "port of the metrics", id: "port", says: "9353 is taken", plant: listens("tcp4", "127.0.0.1:9353")},
	{name: "IPVS", id: "kube-proxy", says: "IPVS mode, and the cache is to serve the ClusterIP 10.96.0.10", plant: hasLink("kube-ipvs0", "192.0.2.9/32")},
	{name: "ClusterIP on kube-ipvs0", id: "address-taken", says: "10.96.0.10 is on the link kube-ipvs0", plant: hasLink("kube-ipvs0", "10.96.0.10/32")},
	{name: "address elsewhere", id: "address-taken", says: "169.254.20.10 is on the link elsewhere", plant: hasLink("elsewhere", "169.254.20.10/32")},
	{name: "link's name", id: "link-name", says: "there is a link nodelocaldns (type veth)", plant: hasLink("nodelocaldns", "192.0.2.9/32")},
	{name: "nameserver leads back", id: "resolv.conf", says: "all nameservers of /etc/resolv.conf lead back to the cache: 10.96.0.10", plant: resolvConf("nameserver 10.96.0.10\n")},
	{name: "one nameserver leads back", id: "resolv.conf", says: "nameservers of /etc/resolv.conf lead back to the cache: 169.254.20.10", plant: resolvConf("nameserver 169.254.20.10\nnameserver 192.168.9.2\n")},
	{name: "no nameserver", id: "resolv.conf", says: "no nameserver", plant: resolvConf("search example.org\n")},
	{name: "TCP is dropped", id: "cluster-dns", says: "10.96.0.11 answers over UDP, and not over TCP", plant: drops("tcp")},
	{name: "nothing gets through", id: "cluster-dns", says: "10.96.0.11 does not answer", plant: drops("udp", "tcp")},
	{name: "domain", id: "cluster-domain", says: "NXDOMAIN for kubernetes.default.svc.example.internal.", args: []string{"-clusterdomain", "example.internal"}},
	{name: "no IPv6", id: "ipv6", says: "IPv6 is switched off", plant: noIPv6, args: []string{"-localip", "169.254.20.10,fd00:20::10"}},
	{name: "no privilege", id: "capabilities", says: "NET_ADMIN", wrap: []string{"setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"}},
	{name: "no iptables", id: "firewall", says: "there is no command iptables", args: []string{"-firewall", "iptables"}},
	{name: "k8s-dns-node-cache", id: "other-cache", says: "node-cache runs on this node", plant: runsNodeCache},
	{name: "no TUN", id: "link", says: "/dev/net/tun", wrap: noMknod, args: []string{"-link", "tun"}, plant: func(t *testing.T, l *lab.Lab) func() {
		noTUN(t, l.Node)
		return nil // it stays, so this one comes near the end
	}},
	{name: "the cluster DNS caches", id: "double-ttl", says: "caches the zone cluster.local itself", plant: clusterDNSCaches},
	{name: "no kube-proxy", id: "kube-proxy", says: "no trace of kube-proxy", plant: func(t *testing.T, l *lab.Lab) func() {
		l.Node.Exec(t, "", "nft", "flush", "ruleset")
		return nil
	}},
}

// TestCheck has the command check find each fault, in files and on the node, and nothing on a healthy node, with a cache that runs
// and without.
func TestCheck(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.NFTables)
	healthy := func(t *testing.T) {
		t.Helper()
		if found := runCheck(t, l, planted{}, checkTemplate, "-node"); len(found) > 0 {
			t.Errorf("a healthy node, and found:\n%s", strings.Join(found, "\n"))
		}
	}
	before := l.Node.State(t)
	t.Run("healthy", healthy)
	n := 0
	for _, p := range plantedInFiles {
		n++
		t.Run(p.name, func(t *testing.T) {
			if strings.Count(checkTemplate, p.old) == 0 {
				t.Fatalf("the template has no %q", p.old)
			}
			wants(t, runCheck(t, l, p, strings.Replace(checkTemplate, p.old, p.bad, 1)), "configuration", p.says)
		})
	}
	for _, p := range plantedOnNode {
		n++
		t.Run(p.name, func(t *testing.T) {
			if p.plant != nil {
				if undo := p.plant(t, l); undo != nil {
					defer undo()
				}
			}
			wants(t, runCheck(t, l, p, checkTemplate, "-node"), p.id, p.says)
		})
		if p.name == "k8s-dns-node-cache" {
			if made := l.Node.State(t).Without(before); len(made) > 0 {
				t.Errorf("the checks left on the node:\n%s", made)
			}
			c := start(t, l, options{firewall: lab.NFTables})
			t.Run("healthy, with a cache that runs", healthy)
			c.term(t)
		}
	}
	t.Logf("%d faults", n)
}

// TestCheckHealthy looks at healthy nodes with the other kinds of kube-proxy and of iptables.
func TestCheckHealthy(t *testing.T) {
	for _, b := range []lab.Backend{lab.IPTablesNFT, lab.IPTablesLegacy} {
		t.Run(string(b), func(t *testing.T) {
			t.Parallel()
			l := lab.New(t, b)
			start(t, l, options{firewall: b, addrs: dual})
			p := planted{tools: b, args: []string{"-firewall", "auto", "-localip", join(dual), "-fallback", fmt.Sprintf("%s,%s", lab.ClusterIP, lab.ClusterIP6)}}
			if found := runCheck(t, l, p, checkTemplate, "-node"); len(found) > 0 {
				t.Errorf("a healthy node, and found:\n%s", strings.Join(found, "\n"))
			}
		})
	}
}

// wants wants a finding of that kind that says that.
func wants(t *testing.T, found []string, id, says string) {
	t.Helper()
	hit := func(f string) bool { return strings.HasPrefix(f, id+": ") && strings.Contains(f, says) }
	if !slices.ContainsFunc(found, hit) {
		t.Errorf("not found: %s: %s; found:\n%s", id, says, strings.Join(found, "\n"))
	}
}

// notes are the lines that the command writes to stderr, which come at any place between those of stdout.
var notes = regexp.MustCompile(`(?m)^nodelocaldns: .*\n?`)

// runCheck runs the command on the lab's node, and returns its findings as "ID: WHAT".
func runCheck(t *testing.T, l *lab.Lab, p planted, template string, args ...string) (found []string) {
	t.Helper()
	tools := lab.NewTools(t, p.tools)
	line := append(slices.Clone(p.wrap), harness.NodeLocalDNS(t), "check", "-o", "json", "-localip", "169.254.20.10,10.96.0.10", "-upstreamsvc", "kube-dns-upstream",
		"-basecorefile", harness.WriteFile(t, "Corefile.base", template), "-firewall", "nftables")
	begin := time.Now()
	run := process.Start(t, l.Node, process.Command{
		Path: harness.Which(t, line[0]), Args: append(append(line[1:], args...), p.args...),
		Env: []string{"PATH=" + tools.Dir, "KUBE_DNS_UPSTREAM_SERVICE_HOST=10.96.0.11", "KUBE_DNS_SERVICE_HOST=10.96.0.10"},
	})
	code := run.Wait(t, time.Minute)
	if took := time.Since(begin); took > checkTime {
		t.Errorf("the check took %s", took)
	}
	var list []struct{ ID, Severity, What, Why, Do string }
	output := notes.ReplaceAllString(run.Output(), "")
	if err := json.Unmarshal([]byte(output), &list); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	if want := min(len(list), 1); code != want {
		t.Errorf("exit code %d, want %d", code, want)
	}
	for _, f := range list {
		if f.ID != "configuration" && (f.Why == "" || f.Do == "") {
			t.Errorf("it lacks why it matters or what to do: %+v", f)
		}
		found = append(found, f.ID+": "+f.What)
	}
	return found
}

// listens listens in the lab's node, as this process.
func listens(network, at string) func(*testing.T, *lab.Lab) func() {
	return func(t *testing.T, l *lab.Lab) func() {
		var c interface{ Close() error }
		err := l.Node.Run(func() (err error) {
			if strings.HasPrefix(network, "udp") {
				c, err = net.ListenPacket(network, at)
			} else {
				c, err = net.Listen(network, at)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return func() { c.Close() }
	}
}

func hasLink(name, addr string) func(*testing.T, *lab.Lab) func() {
	return func(t *testing.T, l *lab.Lab) func() {
		l.Node.Exec(t, "", "ip", "link", "add", name, "type", "veth", "peer", "name", "other")
		l.Node.Exec(t, "", "ip", "addr", "add", addr, "dev", name)
		return func() { l.Node.Exec(t, "", "ip", "link", "del", name) }
	}
}

func resolvConf(text string) func(*testing.T, *lab.Lab) func() {
	return func(t *testing.T, l *lab.Lab) func() {
		write := func(text string) { l.Node.Exec(t, text, "tee", "/etc/resolv.conf") }
		write(text)
		return func() { write(fmt.Sprintf("nameserver %s\n", lab.OutsideIP)) }
	}
}

// drops drops what the node sends to the pod of the cluster DNS.
func drops(protocols ...string) func(*testing.T, *lab.Lab) func() {
	return func(t *testing.T, l *lab.Lab) func() {
		l.DNS.Exec(t, "", "nft", "add table ip drops; add chain ip drops in { type filter hook input priority 0; }")
		for _, p := range protocols {
			l.DNS.Exec(t, "", "nft", "add rule ip drops in "+p+" dport 53 drop")
		}
		return func() { l.DNS.Exec(t, "", "nft", "delete table ip drops") }
	}
}

func noIPv6(t *testing.T, l *lab.Lab) func() {
	l.Node.Sysctl(t, "net.ipv6.conf.default.disable_ipv6", "1")
	return func() { l.Node.Sysctl(t, "net.ipv6.conf.default.disable_ipv6", "0") }
}

// runsNodeCache runs a program of the name that the reference's has.
func runsNodeCache(t *testing.T, l *lab.Lab) func() {
	path := filepath.Join(harness.Dir(t), "node-cache")
	program, err := os.ReadFile(harness.Which(t, "sleep"))
	if err == nil {
		err = os.WriteFile(path, program, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	p := process.Start(t, l.Node, process.Command{Path: path, Args: []string{"60"}})
	return func() {
		p.Signal(t, syscall.SIGKILL)
		p.Wait(t, 5*time.Second)
	}
}

// clusterDNSCaches replaces the cluster DNS by one that caches its own zone.
func clusterDNSCaches(t *testing.T, l *lab.Lab) func() {
	l.ClusterDNS.Signal(t, syscall.SIGKILL)
	l.ClusterDNS.Wait(t, 5*time.Second)
	l.ClusterDNS = upstream.StartServer(t, l.DNS, strings.Replace(upstream.ClusterCorefile(t, lab.OutsideIP), "    errors\n", "    errors\n    cache 30\n", 1))
	harness.Until(t, 20*time.Second, "an answer of the new cluster DNS", func() error {
		_, err := client.Ask(l.Node, client.Query{Server: client.Port53(lab.UpstreamIP), Name: "kubernetes.default.svc.cluster.local.", Type: dns.TypeA, Timeout: time.Second})
		return err
	})
	return nil // it stays
}
