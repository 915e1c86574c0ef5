// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/upstream"
)

// The servers of TestCompliance, on the loopback of a namespace.
var (
	complianceUpstream = netip.MustParseAddr("127.0.0.9")
	complianceStock    = netip.MustParseAddr("127.0.0.1")
	compliancePlugins  = netip.MustParseAddr("127.0.0.2")
	compliancePackets  = netip.MustParseAddr("127.0.0.3")
)

// complianceZone has an answer for every name below small and large. Those below large do not fit into 512 octets.
const complianceZone = `$TTL 3600
@       SOA  ns.example.org. root.example.org. 1 3600 600 86400 60
        NS   ns
ns      A    192.0.2.1
*.small A    192.0.2.2
*.large TXT  "%s" "%s" "%s"
`

// TestCompliance asks the questions of ISC's EDNS compliance tests, and those of other headers and options, of stock CoreDNS, of
// the program without the packet cache, and of the program with it: the answers are the same, and docs/conformance.md has them.
// Each question is asked four times: the first answer comes from the upstream, the others from the caches.
func TestCompliance(t *testing.T) {
	n := netns.New(t, "compliance")
	zone := harness.WriteFile(t, "zone", fmt.Sprintf(complianceZone, strings.Repeat("a", 250), strings.Repeat("b", 250), strings.Repeat("c", 250)))
	upstream.StartServer(t, n, fmt.Sprintf("example.org {\n bind %s\n file %s\n log . \"seen {remote} {proto} {type} {name}\"\n}\n", complianceUpstream, zone))
	const block = "\n . {\n bind %s\n errors\n nsid a node\n cache 30\n %s\n prometheus %s:9253\n}\n"
	const ours = "keep\n fairshare\n searchpath example.org\n hedge . 127.0.0.9"
	conf := func(text string) []string { return []string{"-quiet", "-conf", harness.WriteFile(t, "Corefile", text)} }
	for _, c := range []process.Command{
		{Path: harness.Stock(t), Args: conf(fmt.Sprintf(block, complianceStock, "forward . 127.0.0.9 {\n force_tcp\n }", complianceStock))},
		{Path: harness.NodeLocalDNS(t), Args: conf(fmt.Sprintf(block, compliancePlugins, ours, compliancePlugins))},
		{Path: harness.NodeLocalDNS(t), Args: conf(fmt.Sprintf(block, compliancePackets, "packetcache {\n ttl 1m\n }\n "+ours, compliancePackets))},
	} {
		process.Start(t, n, c)
	}
	for _, a := range []netip.Addr{complianceStock, compliancePlugins, compliancePackets} {
		harness.Until(t, 20*time.Second, fmt.Sprintf("an answer of %s", a), func() error {
			m, err := client.Ask(n, client.Query{Server: client.Port53(a), Name: "up.small.example.org.", Type: dns.TypeA})
			if err == nil && len(m.Answer) == 0 {
				err = errors.New("no data")
			}
			return err
		})
	}
	writeCompliance(t, complianceTable(t, n))
}

// complianceTable asks all questions and returns the document's table.
func complianceTable(t *testing.T, n *netns.Namespace) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| question | stock CoreDNS | from the plugins | with the packet cache | answered by |\n|---|---|---|---|---|\n")
	fromPackets := 0
	for i, f := range complianceForms {
		before, packet, answers := packetHits(t, n), f.packet(t, i), map[netip.Addr][]string{}
		var mu sync.Mutex
		var asking sync.WaitGroup
		for _, a := range []netip.Addr{complianceStock, compliancePlugins, compliancePackets} {
			asking.Go(func() {
				got := askForm(n, a, f.tcp, packet)
				mu.Lock()
				defer mu.Unlock()
				answers[a] = got
			})
		}
		asking.Wait()
		stock := answers[complianceStock]
		cells := []string{f.name, summary(stock[len(stock)-1])}
		for _, a := range []netip.Addr{compliancePlugins, compliancePackets} {
			got, cell := answers[a], "the same"
			for k := range got {
				if got[k] != stock[k] {
					t.Errorf("%s, question %d at %s:\n%s\nstock:\n%s", f.name, k+1, a, got[k], stock[k])
					cell = summary(got[k])
				}
			}
			cells = append(cells, cell)
		}
		by := "plugins"
		if packetHits(t, n) >= before+2 { // the last hit of the form before may be counted late
			by, fromPackets = "packet cache", fromPackets+1
		}
		b.WriteString("| " + strings.Join(append(cells, by), " | ") + " |\n")
	}
	if fromPackets == 0 {
		t.Error("the packet cache answered none of them")
	}
	return b.String()
}

// packetHits returns how many queries the packet cache has answered.
func packetHits(t *testing.T, n *netns.Namespace) float64 {
	t.Helper()
	page, err := n.Get("http://" + netip.AddrPortFrom(compliancePackets, 9253).String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	hits, err := process.Metric(page, "coredns_packetcache_hits_total")
	if err != nil {
		return 0 // not there before the first
	}
	return hits
}

// askForm sends a packet four times, and returns what distinguishes the answers. The packet cache counts a hit when the answer has left,
// so the counter has the third question when the fourth is answered.
func askForm(n *netns.Namespace, a netip.Addr, tcp bool, packet []byte) (answers []string) {
	for range 4 {
		answer, err := exchange(n, a, tcp, packet)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			answers = append(answers, "no answer within 2 s")
		case err != nil:
			answers = append(answers, err.Error())
		default:
			answers = append(answers, complianceText(answer))
		}
	}
	return answers
}

// exchange sends a packet and returns the packet that comes back.
func exchange(n *netns.Namespace, a netip.Addr, tcp bool, packet []byte) ([]byte, error) {
	network := "udp"
	if tcp {
		network = "tcp"
	}
	conn, err := n.Dial(network, client.Port53(a), 2*time.Second)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return nil, err
	}
	c := &dns.Conn{Conn: conn, UDPSize: dns.MaxMsgSize}
	if _, err := c.Write(packet); err != nil {
		return nil, err
	}
	return c.ReadMsgHeader(nil)
}

// complianceText returns what distinguishes an answer from others, without ID and TTLs. Its first line is for the table.
func complianceText(packet []byte) string {
	var m dns.Msg
	if err := m.Unpack(packet); err != nil {
		return fmt.Sprintf("cannot be read (%v)\n%x", err, packet)
	}
	words := []string{dns.RcodeToString[m.Rcode]}
	if m.Rcode == dns.RcodeBadVers {
		words[0] = "BADVERS" // the same number as BADSIG
	}
	for _, flag := range []struct {
		name string
		set  bool
	}{
		{"AA", m.Authoritative}, {"TC", m.Truncated}, {"RD", m.RecursionDesired}, {"RA", m.RecursionAvailable}, {"Z", m.Zero},
		{"AD", m.AuthenticatedData}, {"CD", m.CheckingDisabled},
	} {
		if flag.set {
			words = append(words, flag.name)
		}
	}
	if m.Opcode != dns.OpcodeQuery {
		words = append(words, fmt.Sprintf("opcode %d", m.Opcode))
	}
	words = append(words, fmt.Sprintf("answers %d", len(m.Answer)))
	var lines []string
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			if o, ok := rr.(*dns.OPT); ok {
				words = append(words, optWords(o)...)
				continue
			}
			rr.Header().Ttl = 0
			lines = append(lines, rr.String())
		}
		lines = append(lines, ";")
	}
	return strings.Join(words, " ") + "\n" + fmt.Sprint(m.Question) + "\n" + strings.Join(lines, "\n")
}

// optWords describes an OPT record.
func optWords(o *dns.OPT) []string {
	words := []string{fmt.Sprintf("EDNS%d size %d", o.Version(), o.UDPSize())}
	if o.Do() {
		words = append(words, "DO")
	}
	if z := o.Hdr.Ttl & 0x7fff; z != 0 {
		words = append(words, fmt.Sprintf("flags %#x", z))
	}
	for _, option := range o.Option {
		words = append(words, fmt.Sprintf("option %d %s", option.Option(), option))
	}
	return words
}

// summary is the first line of a text of complianceText.
func summary(text string) string {
	first, _, _ := strings.Cut(text, "\n")
	return first
}

// writeCompliance compares the table with the one in docs/conformance.md, or writes it there.
func writeCompliance(t *testing.T, table string) {
	t.Helper()
	const file, begin, end = "../docs/conformance.md", "<!-- begin of what TestCompliance -update writes -->\n", "<!-- end of what TestCompliance -update writes -->\n"
	before, rest, ok := strings.Cut(readFile(t, file), begin)
	old, after, ok2 := strings.Cut(rest, end)
	switch {
	case !ok || !ok2:
		t.Errorf("%s has no lines %q and %q", file, begin, end)
	case *draw:
		if err := os.WriteFile(file, []byte(before+begin+"\n"+table+"\n"+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	case strings.TrimSpace(old) != strings.TrimSpace(table):
		t.Errorf("%s is not current: run make conformance-coredns. Measured:\n%s", file, table)
	}
}
