// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
)

// sameBlock has answers of several kinds for same.test, which the packet cache uses for 10 s.
const sameBlock = `same.test:53 {
    packetcache
    bind ADDRESSES
    template IN A {
        match ^a1[.]
        answer "{{ .Name }} 60 IN A 192.0.2.1"
        fallthrough
    }
    template IN A {
        match ^a9[.]
        answer "{{ .Name }} 60 IN A 192.0.2.1"
        answer "{{ .Name }} 61 IN A 192.0.2.2"
        answer "{{ .Name }} 62 IN A 192.0.2.3"
        answer "{{ .Name }} 63 IN A 192.0.2.4"
        answer "{{ .Name }} 64 IN A 192.0.2.5"
        answer "{{ .Name }} 65 IN A 192.0.2.6"
        answer "{{ .Name }} 66 IN A 192.0.2.7"
        answer "{{ .Name }} 67 IN A 192.0.2.8"
        answer "{{ .Name }} 68 IN A 192.0.2.9"
        fallthrough
    }
    template IN AAAA {
        match ^a1[.]
        answer "{{ .Name }} 60 IN AAAA 2001:db8::1"
        fallthrough
    }
    template IN A {
        match ^cname[.]
        answer "{{ .Name }} 90 IN CNAME target.same.test."
        answer "target.same.test. 70 IN A 192.0.2.9"
        fallthrough
    }
    template IN TXT {
        match ^txt[.]
        answer "{{ .Name }} 77 IN TXT LONG LONG LONG LONG LONG LONG LONG LONG"
        fallthrough
    }
    template IN SRV {
        match ^a1[.]
        answer "{{ .Name }} 100000 IN SRV 1 2 3 odd.same.test."
        fallthrough
    }
    template IN ANY {
        match ^nx[.]
        rcode NXDOMAIN
        authority "same.test. 77 IN SOA ns.same.test. h.same.test. 1 2 3 4 55"
        fallthrough
    }
    template IN ANY {
        match ^fail[.]
        rcode SERVFAIL
        fallthrough
    }
    template IN ANY {
        rcode NOERROR
        authority "same.test. 77 IN SOA ns.same.test. h.same.test. 1 2 3 4 55"
    }
}
`

// A party is a family, and who asks whom.
type party struct {
	from, to     netip.Addr
	toMAC        net.HardwareAddr
	own, strange net.HardwareAddr // the sender's addresses: of strange queries only the stack knows the answers
}

// TestKernelSameAnswers sends frames of all kinds, from a pod at a veth. Each is sent with two Ethernet addresses: the program answers
// only the pod's own, the stack and the socket both. The answers are the same, and all checksums are good.
func TestKernelSameAnswers(t *testing.T) {
	lab.NeedsKernel(t, lab.HasTCX())
	l := lab.New(t, lab.NFTables)
	l.Node.Exec(t, "", "ip", "link", "set", "veth-pod", "mtu", "9001")
	l.Pod.Exec(t, "", "ip", "link", "set", "eth0", "mtu", "9001")
	quiet(t, l.Pod)
	addrs := strings.ReplaceAll(join(dual), ",", " ")
	long := `\"` + strings.Repeat("x", 90) + `\"`
	base := strings.Replace(inKernel(dual), "admit 1s", "admit 1m\n        ttl 10s", 1) + strings.NewReplacer("ADDRESSES", addrs, "LONG", long).Replace(sameBlock)
	c := start(t, l, options{firewall: lab.NFTables, addrs: dual, base: base})
	frames := client.OpenFrames(t, l.Pod, "eth0")
	node, err := l.Node.Netlink.LinkByName("veth-pod")
	if err != nil {
		t.Fatal(err)
	}
	strange := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	parties := []party{
		{lab.PodIP, lab.LinkLocal, node.Attrs().HardwareAddr, frames.MAC, strange},
		{lab.PodIP6, lab.LinkLocal6, node.Attrs().HardwareAddr, frames.MAC, strange},
	}
	const batch = 200
	total, compared, inKernel := either(10_000, 1000), 0, 0
	for first := 0; first < total && !t.Failed(); first += batch {
		var queries []asked
		for i := range batch {
			queries = append(queries, question(first+i, parties[i%2]))
		}
		strange := func(p party) net.HardwareAddr { return p.strange }
		stack := askFrames(t, frames, queries, soon, strange)
		askFrames(t, frames, queries, soon, strange)
		for range 3 {
			own := askFrames(t, frames, queries, soon, func(p party) net.HardwareAddr { return p.own })
			for i, q := range queries {
				err := alike(stack[i], own[i])
				if err != nil && (stack[i].message == nil || own[i].message == nil) { // the machine may have been too busy
					stack[i] = askFrames(t, frames, queries[i:i+1], patience, strange)[0]
					own[i] = askFrames(t, frames, queries[i:i+1], patience, func(p party) net.HardwareAddr { return p.own })[0]
					err = alike(stack[i], own[i])
				}
				if err != nil {
					t.Errorf("%s: %v\n% x", q.kind, err, q.frames)
				}
				compared++
				if own[i].message != nil && !own[i].local {
					inKernel++
				}
			}
		}
	}
	t.Logf("%d of %d answers were the program's; the process counts %g", inKernel, compared, c.counter(t, kernelHits))
	if inKernel < compared/5 {
		t.Errorf("only %d of %d answers were the program's", inKernel, compared)
	}
}

// asked is a query as frames, from a port of its own, and reply what came there.
type (
	asked struct {
		kind   string
		port   uint16
		party  party
		frames [][]byte // the sender's Ethernet address is to be filled in
	}
	reply struct {
		message []byte // nil: none
		local   bool   // from a socket
	}
)

const firstPort = 20000

// soon is when most answers are there.
const soon = 100 * time.Millisecond

// question returns the i-th query, always the same one.
func question(i int, p party) asked {
	r := rand.New(rand.NewPCG(uint64(i), 16))
	pick := func(of ...uint16) uint16 { return of[r.IntN(len(of))] }
	name := fmt.Sprintf("%s.n%d.same.test.", []string{"a1", "a1", "a9", "txt", "cname", "nx", "fail", "nodata"}[r.IntN(8)], i)
	if r.IntN(20) == 0 {
		name = strings.Replace(name, ".same", strings.Repeat("."+strings.Repeat("l", 40), 3)+".same", 1)
	}
	m := new(dns.Msg).SetQuestion(name, pick(dns.TypeA, dns.TypeA, dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeSRV, dns.TypeHTTPS, dns.TypeANY, 65280))
	m.Id = uint16(r.Uint32())
	m.RecursionDesired, m.AuthenticatedData, m.CheckingDisabled = r.IntN(10) > 0, r.IntN(10) == 0, r.IntN(10) == 0
	if r.IntN(2) == 0 {
		m.SetEdns0(pick(0, 511, 512, 1232, 1232, 4096, 65535), r.IntN(4) == 0)
		switch r.IntN(10) {
		case 0:
			m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_LOCAL{Code: 65001, Data: []byte("x")})
		case 1, 2:
			m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"})
		}
	}
	message, err := m.Pack()
	if err != nil {
		panic(err)
	}
	for j := 12; message[j] != 0; j++ {
		if c := message[j]; 'a' <= c && c <= 'z' && r.IntN(3) == 0 {
			message[j] -= 'a' - 'A'
		}
	}
	switch r.IntN(25) {
	case 0:
		message = message[:12+r.IntN(len(message)-12)]
	case 1:
		message[2+r.IntN(10)] ^= 1 << r.IntN(8)
	case 2:
		message = append(message, make([]byte, 1+r.IntN(300))...)
	}
	q := asked{port: firstPort + uint16(i%10000), party: p}
	frame := client.Datagram(p.own, p.toMAC, netip.AddrPortFrom(p.from, q.port), client.Port53(p.to), message)
	q.kind, q.frames = disguised(r, frame)
	return q
}

// disguised returns the frame as it is, or one of those that the program should leave to the stack.
func disguised(r *rand.Rand, b []byte) (kind string, frames [][]byte) {
	v4 := b[14]>>4 == 4
	udp := 14 + 40
	if v4 {
		udp = 14 + 20
	}
	switch r.IntN(30) {
	case 0:
		b[udp+6] ^= 0x10
		kind = "bad UDP checksum"
	case 1, 2, 3:
		b[udp+6], b[udp+7] = 0, 0
		kind = "UDP checksum zero"
	case 4:
		kind, b = "VLAN tag", slices.Insert(b, 12, 0x81, 0, 0, 5)
	case 5:
		kind, b = "frame that is cut", b[:len(b)-1-r.IntN(len(b)-udp)]
	case 6:
		kind, b = "octets behind the packet", append(b, make([]byte, 1+r.IntN(40))...)
	case 7, 8:
		if v4 {
			b = slices.Insert(b, udp, 1, 1, 1, 1) // no operations
			b[14] = 0x46
			binary.BigEndian.PutUint16(b[16:], uint16(len(b)-14))
			return "IP options", [][]byte{client.Sum(b)}
		}
		b = slices.Insert(b, udp, 17, 0, 1, 4, 0, 0, 0, 0) // a header for the destination, with padding
		b[14+6] = 60
		binary.BigEndian.PutUint16(b[18:], uint16(len(b)-14-40))
		return "extension header", [][]byte{b}
	case 9, 10:
		if v4 {
			return "fragments", fragments(b)
		}
	case 11:
		b[14+headerByte(v4)] = 0
		kind = "hop limit 0"
		if v4 {
			client.SumIP(b)
		}
	}
	return kind, [][]byte{b}
}

// headerByte is where the IP header has the hop limit.
func headerByte(v4 bool) int {
	if v4 {
		return 8
	}
	return 7
}

// fragments cuts a packet of IPv4 behind the first 16 octets.
func fragments(b []byte) [][]byte {
	head, data := b[:34], b[34:]
	var all [][]byte
	for _, part := range []struct {
		offset uint16 // in 8 octets, and the flag that more follow
		data   []byte
	}{{1 << 13, data[:16]}, {2, data[16:]}} {
		f := append(slices.Clone(head), part.data...)
		binary.BigEndian.PutUint16(f[16:], uint16(20+len(part.data)))
		binary.BigEndian.PutUint16(f[18:], binary.BigEndian.Uint16(data)) // the port is an identification, too
		binary.BigEndian.PutUint16(f[20:], part.offset)
		all = append(all, client.SumIP(f))
	}
	return all
}

// askFrames sends all queries and returns the answers. Those that have none after a while have none.
func askFrames(t *testing.T, frames *client.Frames, queries []asked, wait time.Duration, mac func(party) net.HardwareAddr) []reply {
	t.Helper()
	for _, q := range queries {
		for _, b := range q.frames {
			copy(b[6:], mac(q.party))
			if err := frames.Send(b); err != nil {
				t.Fatalf("sending %s: %v", q.kind, err)
			}
		}
	}
	answers := make([]reply, len(queries))
	for open := len(queries); open > 0; {
		f, err := frames.Receive(time.Now().Add(wait))
		if err != nil {
			break
		}
		if !f.IsDNS() {
			continue
		}
		port, message, err := f.Message()
		if err != nil {
			t.Error(err)
		}
		i := slices.IndexFunc(queries, func(q asked) bool { return q.port == port })
		if i < 0 || answers[i].message != nil { // late
			continue
		}
		answers[i] = reply{slices.Clone(message), f.Local}
		open--
	}
	return answers
}

// alike compares two answers. TTLs may differ by a second.
func alike(a, b reply) error {
	if a.message == nil || b.message == nil {
		if a.message != nil || b.message != nil {
			return fmt.Errorf("answered by the stack: %v, otherwise: %v", a.message != nil, b.message != nil)
		}
		return nil
	}
	var m, n dns.Msg
	if errA, errB := m.Unpack(a.message), n.Unpack(b.message); errA != nil || errB != nil {
		return fmt.Errorf("reading the answers: %v, %v", errA, errB)
	}
	level(&m, &n)
	if m.String() != n.String() || m.Len() != n.Len() {
		return fmt.Errorf("by the stack:\n%v\notherwise (from a socket: %v):\n%v", &m, b.local, &n)
	}
	return nil
}

// level makes TTLs the same that differ by a second.
func level(m, n *dns.Msg) {
	for _, sections := range [][2][]dns.RR{{m.Answer, n.Answer}, {m.Ns, n.Ns}} {
		for i := range min(len(sections[0]), len(sections[1])) {
			x, y := sections[0][i].Header(), sections[1][i].Header()
			if x.Ttl == y.Ttl+1 || y.Ttl == x.Ttl+1 {
				x.Ttl = y.Ttl
			}
		}
	}
}
