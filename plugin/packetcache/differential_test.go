// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wiretest"
)

// TestSameAnswers asks two servers with the same Corefile, one of them with packetcache, the same 10,000 questions, and each
// of them again while the answer is warm.
func TestSameAnswers(t *testing.T) {
	const total, workers = 10_000, 32
	up := upstream(t)
	stock, ours := serve(t, corefile(up, false)), serve(t, corefile(up, true))
	before := counted(t, "coredns_packetcache_hits_total", ours)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			a, b := dial(t, stock), dial(t, ours)
			for i := w; i < total; i += workers {
				q := question(i)
				for _, state := range []string{"cold", "warm", "warm"} {
					if err := compare(q, a, b); err != nil {
						t.Errorf("query %d, %s: %v\n%x", i, state, err, q)
					}
				}
			}
		})
	}
	wg.Wait()
	if hits := counted(t, "coredns_packetcache_hits_total", ours) - before; hits < total/2 {
		t.Errorf("only %g of the answers came from the packet cache", hits)
	}
}

// TestSameMetrics asks both servers the same, and compares what prometheus counts.
func TestSameMetrics(t *testing.T) {
	up := upstream(t)
	stock, ours := serve(t, corefile(up, false)), serve(t, corefile(up, true))
	a, b := dial(t, stock), dial(t, ours)
	for i := range 500 {
		q := question(7 * (i % 50))
		if err := compare(q, a, b); err != nil {
			t.Errorf("query %d: %v", i, err)
		}
	}
	want, got := series(t, stock), series(t, ours)
	if !slices.Equal(want, got) || len(want) < 20 {
		t.Errorf("stock:\n%s\nwith packetcache:\n%s", strings.Join(want, "\n"), strings.Join(got, "\n"))
	}
}

// TestBurst sends more queries at once than a reader takes with one call.
func TestBurst(t *testing.T) {
	c := dial(t, serve(t, corefile(upstream(t), true)))
	query := wiretest.Pack(t, "a1.n1.test.", dns.TypeA, nil)
	if ask(c, query, time.Second) == nil {
		t.Fatal("no answer")
	}
	for burst := range 50 {
		const queries = 3 * 32
		for i := range queries {
			query[1] = byte(i)
			if _, err := c.Write(query); err != nil {
				t.Fatal(err)
			}
		}
		answered, buf := map[byte]bool{}, make([]byte, 512)
		_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
		for len(answered) < queries {
			if _, err := c.Read(buf); err != nil {
				t.Fatalf("burst %d: %d of %d answers: %v", burst, len(answered), queries, err)
			}
			answered[buf[1]] = true
		}
	}
}

// TestRotation checks that what loadbalance shuffles is not the same each time.
func TestRotation(t *testing.T) {
	c := dial(t, serve(t, corefile(upstream(t), true)))
	first := map[string]bool{}
	for range 50 {
		var m dns.Msg
		if err := m.Unpack(ask(c, wiretest.Pack(t, "a3.n1.lb.test.", dns.TypeA, nil), time.Second)); err != nil || len(m.Answer) != 3 {
			t.Fatalf("%v: %v", err, &m)
		}
		first[text(m.Answer[0])] = true
	}
	if len(first) < 2 {
		t.Errorf("always %v first", first)
	}
}

// TestNSID asks for the name of the server (RFC 5001) while the answer is in the packet cache. Only an answer to such a query has
// the name, and the other queries are hits as before.
func TestNSID(t *testing.T) {
	addr := serve(t, patient(corefile(upstream(t), true)))
	c := dial(t, addr)
	plain := new(dns.Msg).SetQuestion("a1.n1.test.", dns.TypeA).SetEdns0(1232, false)
	named := plain.Copy()
	named.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_NSID{Code: dns.EDNS0NSID}}
	for i, step := range []struct {
		query  *dns.Msg
		want   string // in the answer
		misses float64
	}{{named, "a node", 1}, {plain, "", 1}, {plain, "", 0}, {named, "a node", 1}, {named, "a node", 1}, {plain, "", 0}} {
		before := counted(t, "coredns_packetcache_misses_total", addr)
		query, err := step.query.Pack()
		if err != nil {
			t.Fatal(err)
		}
		var m dns.Msg
		if err := m.Unpack(ask(c, query, time.Second)); err != nil || len(m.Answer) != 1 {
			t.Fatalf("step %d: %v, %v", i, &m, err)
		}
		got := ""
		for _, o := range m.IsEdns0().Option {
			name, err := hex.DecodeString(o.(*dns.EDNS0_NSID).Nsid)
			if got = string(name); err != nil {
				t.Error(err)
			}
		}
		if misses := counted(t, "coredns_packetcache_misses_total", addr) - before; got != step.want || misses != step.misses {
			t.Errorf("step %d: name %q, %g misses; want %q, %g", i, got, misses, step.want, step.misses)
		}
	}
}

// patient lets an answer live for a quarter of its TTL, 100 s, and not for a second: a slow machine gets the same hits.
func patient(corefile string) string {
	return strings.ReplaceAll(corefile, "packetcache", "packetcache {\n ttl 1h\n }")
}

// TestOptions asks with options that the packet cache reads. Behind cache no answer has options, and the second one is a hit. Without
// cache the answer has the options of the upstream, for this client alone, and is no hit for anybody.
func TestOptions(t *testing.T) {
	addr := serve(t, patient(corefile(upstream(t), true)))
	c := dial(t, addr)
	cookie, another := wiretest.Cookie("01234567"), wiretest.Cookie("abcdefgh")
	keepalive := &dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE}
	padding := &dns.EDNS0_PADDING{Padding: make([]byte, 20)}
	short, nsid := wiretest.Cookie("0123456"), &dns.EDNS0_NSID{Code: dns.EDNS0NSID}
	for i, step := range []struct {
		name    string
		options []dns.EDNS0
		rcode   int
		want    []uint16 // the options in the answer
		misses  float64
	}{
		{"a1.n1.test.", nil, 0, nil, 1},
		{"a1.n1.test.", []dns.EDNS0{cookie}, 0, nil, 1},
		{"a1.n1.test.", []dns.EDNS0{cookie}, 0, nil, 0},
		{"a1.n1.test.", []dns.EDNS0{another}, 0, nil, 0},
		{"a1.n1.test.", []dns.EDNS0{padding, another, keepalive}, 0, nil, 1},
		{"a1.n1.test.", []dns.EDNS0{keepalive, cookie, padding}, 0, nil, 0},
		{"a1.n1.test.", []dns.EDNS0{cookie, nsid}, 0, []uint16{dns.EDNS0NSID}, 1},
		{"a1.n1.test.", []dns.EDNS0{cookie, nsid}, 0, []uint16{dns.EDNS0NSID}, 1},
		{"a1.n1.test.", []dns.EDNS0{short}, 0, nil, 1},
		{"a1.n1.test.", []dns.EDNS0{short}, 0, nil, 1},
		{"a1.n1.test.", nil, 0, nil, 0},
		{"a1.n1.own.test.", []dns.EDNS0{cookie}, 0, []uint16{dns.EDNS0COOKIE}, 1},
		{"a1.n1.own.test.", []dns.EDNS0{cookie}, 0, []uint16{dns.EDNS0COOKIE}, 1},
		{"a1.n1.own.test.", nil, 0, nil, 1},
		{"a1.n1.own.test.", nil, 0, nil, 0},
		{"a1.n1.own.test.", []dns.EDNS0{another}, 0, []uint16{dns.EDNS0COOKIE}, 1},
		{"a1.n1.own.test.", []dns.EDNS0{padding, keepalive}, 0, []uint16{dns.EDNS0PADDING, dns.EDNS0TCPKEEPALIVE}, 1},
		{"a1.n1.own.test.", []dns.EDNS0{short}, dns.RcodeFormatError, nil, 1},
	} {
		before := counted(t, "coredns_packetcache_misses_total", addr)
		var m dns.Msg
		if err := m.Unpack(ask(c, wiretest.Pack(t, step.name, dns.TypeA, wiretest.Option(step.options...)), time.Second)); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		var got []uint16
		for _, o := range m.IsEdns0().Option {
			got = append(got, o.Option())
			if given, ok := o.(*dns.EDNS0_COOKIE); ok && given.Cookie[:16] != step.options[0].String() {
				t.Errorf("step %d: the cookie of another client: %s", i, given)
			}
		}
		misses := counted(t, "coredns_packetcache_misses_total", addr) - before
		if m.Rcode != step.rcode || !slices.Equal(got, step.want) || misses != step.misses {
			t.Errorf("step %d: %s, options %v, %g misses; want %v, %g", i, dns.RcodeToString[m.Rcode], got, misses, step.want, step.misses)
		}
	}
}

// question returns the i-th query, always the same one.
func question(i int) []byte {
	r := rand.New(rand.NewPCG(uint64(i), 4711))
	pick := func(of ...uint16) uint16 { return of[r.IntN(len(of))] }
	kind := []string{"a1", "a3", "a25", "txt2", "txt9", "txt30", "nx", "nodata", "cname", "servfail", "refused", "zero", "mx"}[r.IntN(13)]
	zone := []string{"", "", "", "rw.", "lb.", "tmpl.", "acl.", "own."}[r.IntN(8)]
	name := fmt.Sprintf("%s.n%d.%stest.", kind, r.IntN([]int{2, 4000}[r.IntN(2)]), zone)
	if kind == "zero" { // plugin cache keeps it for 5 s, and each server in its own time
		name = fmt.Sprintf("zero.n%d.%stest.", i, zone)
	}
	m := new(dns.Msg).SetQuestion(name,
		pick(dns.TypeA, dns.TypeA, dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeMX, dns.TypeSRV, dns.TypePTR, dns.TypeANY, dns.TypeDS, 65280))
	m.Id = uint16(i)
	m.RecursionDesired, m.AuthenticatedData, m.CheckingDisabled = r.IntN(10) > 0, r.IntN(10) == 0, r.IntN(10) == 0
	if r.IntN(2) == 0 {
		m.SetEdns0(pick(0, 511, 512, 1232, 1232, 1400, 4096, 65535), r.IntN(4) == 0)
		strange(r, m)
	}
	if r.IntN(40) == 0 {
		m.Question[0].Qclass = pick(dns.ClassCHAOS, dns.ClassANY, 0)
	}
	wire, err := m.Pack()
	if err != nil {
		panic(err)
	}
	for j := 12; j < len(wire)-4 && wire[j] != 0; j++ {
		if c := wire[j]; 'a' <= c && c <= 'z' && r.IntN(3) == 0 {
			wire[j] -= 'a' - 'A'
		}
	}
	return broken(r, wire)
}

// strange puts into some of the OPT records what is seldom there.
func strange(r *rand.Rand, m *dns.Msg) {
	o := m.IsEdns0()
	switch r.IntN(20) {
	case 0:
		o.SetVersion(uint8(1 + r.IntN(3)))
	case 1:
		o.SetZ(uint16(r.IntN(1 << 14)))
	case 2, 6, 7, 8, 9:
		o.Option = someOptions(r)
	case 3:
		o.Option = append(o.Option, &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: net.IPv4(192, 0, 2, 0)})
	case 4:
		o.Option = append(o.Option, &dns.EDNS0_LOCAL{Code: 65001, Data: []byte("x")})
	case 5:
		m.Extra = append(m.Extra, o) // twice
	}
}

// someOptions returns up to three options that the packet cache reads, one in a few of them malformed, twice, or beside NSID.
func someOptions(r *rand.Rand) (all []dns.EDNS0) {
	octets := func(n int) string { return strings.Repeat(fmt.Sprint(r.IntN(10)), n) }
	for range 1 + r.IntN(3) {
		switch r.IntN(12) {
		case 0:
			all = append(all, wiretest.Cookie(octets(r.IntN(48))))
		case 1:
			all = append(all, wiretest.Cookie(octets(16+r.IntN(25))))
		case 2, 3, 4:
			all = append(all, &dns.EDNS0_PADDING{Padding: make([]byte, r.IntN(2)*r.IntN(140))})
		case 5, 6:
			all = append(all, &dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE, Timeout: uint16(max(0, r.IntN(9)-7))})
		case 7:
			all = append(all, &dns.EDNS0_NSID{Code: dns.EDNS0NSID})
		default:
			all = append(all, wiretest.Cookie(octets(8)))
		}
	}
	return all
}

// broken breaks some messages.
func broken(r *rand.Rand, wire []byte) []byte {
	switch r.IntN(60) {
	case 0:
		return wire[:r.IntN(len(wire))]
	case 1:
		wire[r.IntN(len(wire))] = byte(r.Uint32())
	case 2:
		wire[2] = byte(r.Uint32())
	case 3:
		wire[3] = byte(r.Uint32())
	case 4:
		return append(wire, make([]byte, 1+r.IntN(600))...)
	case 5:
		for i := range wire {
			wire[i] = byte(r.Uint32())
		}
	}
	return wire
}

// compare asks both the same, and once more if they differ in whether they answer at all: a machine may be slow.
func compare(q []byte, stock, ours net.Conn) error {
	var err error
	for wait := 150 * time.Millisecond; wait < 3*time.Second; wait *= 4 {
		a, b := ask(stock, q, wait), ask(ours, q, wait)
		if err = same(a, b); err == nil || a != nil && b != nil {
			return err
		}
	}
	return err
}

// ask returns the answer with q's ID, or nil.
func ask(c net.Conn, q []byte, wait time.Duration) []byte {
	if _, err := c.Write(q); err != nil {
		return nil
	}
	_ = c.SetReadDeadline(time.Now().Add(wait))
	buf := make([]byte, 1<<16)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return nil
		}
		if n < 2 || len(q) < 2 || bytes.Equal(buf[:2], q[:2]) {
			return buf[:n]
		}
	}
}

// same compares two answers: everything but the order of records and the case of their owners; TTLs may differ by a second.
func same(a, b []byte) error {
	if a == nil && b == nil {
		return nil
	}
	if a == nil || b == nil {
		return fmt.Errorf("stock answered: %t, packetcache: %t", a != nil, b != nil)
	}
	var m, n dns.Msg
	errA, errB := m.Unpack(a), n.Unpack(b)
	if errA != nil || errB != nil {
		return errors.Join(errA, errB)
	}
	if m.MsgHdr != n.MsgHdr || !slices.Equal(m.Question, n.Question) {
		return fmt.Errorf("stock:\n%v\npacketcache:\n%v", &m, &n)
	}
	for i, sections := range [][2][]dns.RR{{m.Answer, n.Answer}, {m.Ns, n.Ns}, {m.Extra, n.Extra}} {
		x, y := sorted(sections[0]), sorted(sections[1])
		if len(x) != len(y) {
			return fmt.Errorf("section %d: stock:\n%v\npacketcache:\n%v", i, &m, &n)
		}
		for j := range x {
			ttlX, ttlY := int(x[j].Header().Ttl), int(y[j].Header().Ttl)
			if x[j].Header().Rrtype != dns.TypeOPT && max(ttlX-ttlY, ttlY-ttlX) > 1 || text(x[j]) != text(y[j]) {
				return fmt.Errorf("stock: %v\npacketcache: %v", x[j], y[j])
			}
		}
	}
	return nil
}

// text is a record but for its TTL, if that is one.
func text(rr dns.RR) string {
	if rr.Header().Rrtype != dns.TypeOPT {
		rr = dns.Copy(rr)
		rr.Header().Ttl = 0
		rr.Header().Name = strings.ToLower(rr.Header().Name)
	}
	return rr.String()
}

func sorted(rrs []dns.RR) []dns.RR {
	slices.SortFunc(rrs, func(a, b dns.RR) int { return strings.Compare(text(a), text(b)) })
	return rrs
}

// upstream starts a name server that answers as the first label says, and returns its address.
func upstream(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{Listener: ln, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) { _ = w.WriteMsg(reply(r)) })}
	go func() { _ = s.ActivateAndServe() }()
	t.Cleanup(func() { _ = s.Shutdown() })
	return ln.Addr().String()
}

func reply(r *dns.Msg) *dns.Msg {
	m, q := new(dns.Msg).SetReply(r), r.Question[0]
	if o := r.IsEdns0(); o != nil {
		m.SetEdns0(4096, o.Do())
		if !answerOptions(m, o.Option) {
			return m
		}
	}
	kind, _, _ := strings.Cut(strings.ToLower(q.Name), ".")
	ttl := uint32(400 + len(q.Name)) // longer than a run: the servers that are compared do not forget at the same time
	head := func(name string, rrtype uint16) dns.RR_Header {
		return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
	}
	soa := &dns.SOA{Hdr: head("test.", dns.TypeSOA), Ns: "ns.test.", Mbox: "h.test.", Minttl: 77}
	n := 0
	switch {
	case kind == "nx":
		m.Rcode, m.Ns = dns.RcodeNameError, []dns.RR{soa}
	case kind == "servfail":
		m.Rcode = dns.RcodeServerFailure
	case kind == "refused":
		m.Rcode = dns.RcodeRefused
	case kind == "mx" && q.Qtype == dns.TypeMX:
		for i := range 4 {
			m.Answer = append(m.Answer, &dns.MX{Hdr: head(q.Name, dns.TypeMX), Preference: uint16(i), Mx: fmt.Sprintf("mx%d.test.", i)})
		}
	case sscan(kind, "txt%d", &n) && q.Qtype == dns.TypeTXT:
		for i := range n {
			m.Answer = append(m.Answer, &dns.TXT{Hdr: head(q.Name, dns.TypeTXT), Txt: []string{fmt.Sprint(i, strings.Repeat("x", 100))}})
		}
	case q.Qtype == dns.TypeA && (kind == "cname" || kind == "zero" || sscan(kind, "a%d", &n)):
		name := q.Name
		if kind == "zero" {
			ttl = 0
		}
		if kind == "cname" {
			name = "target.test."
			m.Answer = append(m.Answer, &dns.CNAME{Hdr: head(q.Name, dns.TypeCNAME), Target: name})
		}
		for i := range max(n, 1) {
			m.Answer = append(m.Answer, &dns.A{Hdr: head(name, dns.TypeA), A: net.IPv4(192, 0, 2, byte(i))})
		}
	default:
		m.Ns = []dns.RR{soa}
	}
	return m
}

// answerOptions answers the options of a client as a server does that knows them. It returns false for a malformed cookie.
func answerOptions(m *dns.Msg, options []dns.EDNS0) bool {
	o := m.IsEdns0()
	for _, option := range options {
		switch option := option.(type) {
		case *dns.EDNS0_COOKIE:
			if n := len(option.Cookie) / 2; n < 8 || n > 8 && n < 16 || n > 40 {
				m.Rcode = dns.RcodeFormatError
				return false
			}
			o.Option = append(o.Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: option.Cookie[:16] + "0011223344556677"})
		case *dns.EDNS0_PADDING:
			o.Option = append(o.Option, &dns.EDNS0_PADDING{Padding: make([]byte, 3)})
		case *dns.EDNS0_TCP_KEEPALIVE:
			o.Option = append(o.Option, &dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE, Timeout: 100})
		}
	}
	return true
}

func sscan(s, format string, n *int) bool {
	_, err := fmt.Sscanf(s, format, n)
	return err == nil
}

func TestMain(m *testing.M) {
	setDirectives()
	os.Exit(m.Run())
}

// dial connects to the server at addr.
func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Error(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestForeignBlock has a block without the plugin that decides by the client, and asks a block with it on the way to its answer.
func TestForeignBlock(t *testing.T) {
	addr := serve(t, ".:PORT {\n bind 127.0.0.1\n packetcache\n cache\n forward . "+upstream(t)+" {\n force_tcp\n }\n}\n"+
		"a.test:PORT {\n bind 127.0.0.1\n acl {\n block net 127.0.0.2/32\n }\n template IN A {\n answer \"{{ .Name }} 50 IN CNAME a1.n1.test.\"\n }\n}\n")
	query := wiretest.Pack(t, "x.a.test.", dns.TypeA, nil)
	for i, client := range []string{"127.0.0.2", "127.0.0.1", "127.0.0.2"} {
		d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(client)}}
		c, err := d.Dial("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		var m dns.Msg
		err = m.Unpack(ask(c, query, 2*time.Second))
		_ = c.Close()
		if refused := client == "127.0.0.2"; err != nil || refused != (m.Rcode == dns.RcodeRefused) || !refused && len(m.Answer) != 2 {
			t.Errorf("query %d, from %s: %v\n%v", i, client, err, &m)
		}
	}
}

// TestReload gives a server that is asked all the time other Corefiles: the same with another comment, one for which the packet cache
// stays out of the way, the first again, and one that is refused.
func TestReload(t *testing.T) {
	plain := corefile(upstream(t), true)
	addr, reload := reloadable(t, plain)
	c := dial(t, addr)
	query := wiretest.Pack(t, "a1.n1.test.", dns.TypeA, nil)
	stop, lost := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				lost <- n
				return
			default:
				if ask(c, query, 3*time.Second) == nil {
					n++
				}
			}
		}
	}()
	hits := func() float64 { return counted(t, "coredns_packetcache_hits_total", addr) }
	// The packet cache begins some time after the start.
	for deadline := time.Now().Add(10 * time.Second); hits() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("no hit after the start")
		}
	}
	for i, step := range []struct {
		text       string
		cached, ok bool
	}{
		{plain + "# again\n", true, true},
		{strings.Replace(plain, "packetcache", "# none", -1), false, true},
		{plain, true, true},
		{plain + "nobody.test:PORT {\n unknown\n}\n", true, false},
	} {
		if err := reload(step.text); (err == nil) != step.ok {
			t.Errorf("step %d: %v", i, err)
		}
		before := hits()
		for range 20 {
			if ask(dial(t, addr), query, 3*time.Second) == nil {
				t.Errorf("step %d: no answer", i)
			}
		}
		if grew := hits() > before; grew != step.cached {
			t.Errorf("step %d: hits: %t", i, grew)
		}
	}
	close(stop)
	if n := <-lost; n > 0 {
		t.Errorf("%d queries lost", n)
	}
}
