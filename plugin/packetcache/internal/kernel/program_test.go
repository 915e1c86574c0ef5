// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/store"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wire"
)

const (
	testMark = 0x4e4c
	testMAC  = 2 // 02:00:00:00:00:00, the sender of all frames
)

var (
	server4, client4 = netip.MustParseAddr("169.254.20.10"), netip.MustParseAddr("10.244.1.2")
	server6, client6 = netip.MustParseAddr("fd00:20::10"), netip.MustParseAddr("fd00:244::2")
)

// loaded is a program in a network namespace of the test, with both servers started and both clients admitted at lo.
func loaded(t testing.TB) (*Program, map[netip.Addr]*Server, *atomic.Uint64) {
	t.Helper()
	var answered atomic.Uint64
	p, err := Load(Options{
		SelfQueryMark: testMark, Logf: t.Logf,
		Hits: func(_ *store.Entry, times uint64) { answered.Add(times) },
	})
	var unsupported *ebpf.VerifierError
	if errors.As(err, &unsupported) {
		t.Fatalf("%+v", unsupported)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	servers := map[netip.Addr]*Server{}
	for server, client := range map[netip.Addr]netip.Addr{server4: client4, server6: client6} {
		s, err := p.Serve(server, Terms{Admit: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		servers[server] = s
		admitUntil(t, p, client, s, clock()+uint64(time.Hour))
	}
	return p, servers, &answered
}

// admitUntil admits a client at lo without the gate, whose goroutine harvests at times of its own.
func admitUntil(t testing.TB, p *Program, client netip.Addr, s *Server, until uint64) {
	t.Helper()
	key, slot := answerClient{Ip: wordsOf(client), Interface: 1, Server: uint32(s.number)}, uint32(s.number)
	p.gate.clients.slots[slot].admit(testMAC, until)
	if err := p.objects.Clients.Put(&key, slot); err != nil {
		t.Fatal(err)
	}
}

// A checksum is what the UDP header has.
type checksum uint8

const (
	complete checksum = iota
	partial           // of the pseudo-header alone: the device would do the rest
	absent            // zero
	bad
)

// frame makes a frame that carries msg from a client to a server.
func frame(from, to netip.Addr, msg []byte, kind checksum) []byte {
	udp := make([]byte, 8, 8+len(msg))
	binary.BigEndian.PutUint16(udp, 40000)
	binary.BigEndian.PutUint16(udp[2:], 53)
	binary.BigEndian.PutUint16(udp[4:], uint16(8+len(msg)))
	udp = append(udp, msg...)
	pseudo := pseudoHeader(from, to, len(udp))
	var check uint16
	switch kind {
	case complete, bad:
		check = ^sum(append(pseudo, udp...))
		if check == 0 {
			check = 0xffff
		}
		if kind == bad {
			check ^= 0x0100
		}
	case partial:
		check = sum(pseudo)
	}
	binary.LittleEndian.PutUint16(udp[6:], check)
	out := make([]byte, 14)
	out[6] = 2
	if from.Is4() {
		binary.BigEndian.PutUint16(out[12:], unix.ETH_P_IP)
		ip := []byte{0x45, 0, 0, 0, 0x12, 0x34, 0x40, 0, 63, unix.IPPROTO_UDP, 0, 0}
		binary.BigEndian.PutUint16(ip[2:], uint16(20+len(udp)))
		ip = append(append(ip, from.AsSlice()...), to.AsSlice()...)
		binary.LittleEndian.PutUint16(ip[10:], ^sum(ip))
		out = append(out, ip...)
	} else {
		binary.BigEndian.PutUint16(out[12:], unix.ETH_P_IPV6)
		ip := []byte{0x60, 1, 2, 3, 0, 0, unix.IPPROTO_UDP, 63}
		binary.BigEndian.PutUint16(ip[4:], uint16(len(udp)))
		out = append(out, append(append(ip, from.AsSlice()...), to.AsSlice()...)...)
	}
	return append(out, udp...)
}

func pseudoHeader(from, to netip.Addr, length int) []byte {
	b := append(from.AsSlice(), to.AsSlice()...)
	return append(b, 0, unix.IPPROTO_UDP, byte(length>>8), byte(length))
}

// run has the program see a frame. It returns what the program made of it, nil if the program passed it on.
func run(t testing.TB, p *Program, frame []byte) []byte {
	t.Helper()
	out := make([]byte, 2048)
	opts := &ebpf.RunOptions{Data: frame, DataOut: out}
	verdict, err := p.objects.Nodelocaldns.Run(opts)
	if err != nil {
		t.Fatal(err)
	}
	switch int32(verdict) {
	case -1: // TCX_NEXT
		if !bytes.Equal(opts.DataOut, frame) {
			t.Fatalf("a frame that is passed on was changed:\n% x\n% x", frame, opts.DataOut)
		}
		return nil
	case 7: // TCX_REDIRECT
		return opts.DataOut
	}
	t.Fatalf("verdict %d", int32(verdict))
	return nil
}

// message checks the headers of an answer and returns the DNS message.
func message(t testing.TB, out []byte, from, to netip.Addr, kind checksum) []byte {
	t.Helper()
	if out[0] != 2 || out[6] != 0 {
		t.Errorf("Ethernet addresses: % x", out[:12])
	}
	ip, head := out[14:], 40
	if from.Is4() {
		head = 20
		if sum(ip[:20]) != 0xffff || int(binary.BigEndian.Uint16(ip[2:])) != len(ip) {
			t.Errorf("IPv4 header: % x", ip[:20])
		}
	} else if int(binary.BigEndian.Uint16(ip[4:])) != len(ip)-40 {
		t.Errorf("IPv6 header: % x", ip[:40])
	}
	if ends := append(to.AsSlice(), from.AsSlice()...); !bytes.HasSuffix(ip[:head], ends) {
		t.Errorf("addresses: % x, want % x", ip[:head], ends)
	}
	udp := ip[head:]
	if binary.BigEndian.Uint16(udp) != 53 || binary.BigEndian.Uint16(udp[2:]) != 40000 || int(binary.BigEndian.Uint16(udp[4:])) != len(udp) {
		t.Errorf("UDP header: % x", udp[:8])
	}
	pseudo := pseudoHeader(to, from, len(udp))
	check := binary.LittleEndian.Uint16(udp[6:])
	switch {
	case kind == absent && check != 0, kind == partial && check != sum(pseudo),
		kind == complete && (check == 0 || sum(append(pseudo, udp...)) != 0xffff):
		t.Errorf("checksum %04x of kind %d is wrong", check, kind)
	}
	return udp[8:]
}

// TestAnswers compares what the program answers with what the packet cache answers, for random questions, answers and spellings.
func TestAnswers(t *testing.T) {
	nettest.InNamespace(t)
	p, servers, counted := loaded(t)
	rng := rand.New(rand.NewPCG(1, 2))
	answered := 0
	for i := range 10000 {
		server, client := server4, client4
		if rng.IntN(2) == 0 {
			server, client = server6, client6
		}
		kind := checksum(rng.IntN(3))
		if kind == absent && server == server6 {
			kind = complete
		}
		query, e, ok := randomEntry(rng)
		if !ok {
			continue
		}
		age := time.Duration(rng.IntN(3)) * time.Second
		e.Expires = time.Hour
		servers[server].Put(e, at(age))
		spelled := respell(rng, query)
		out := run(t, p, frame(client, server, spelled, kind))
		var v entry
		if fits := v.fill(e, 0); fits != (out != nil) {
			t.Fatalf("%d: %q: fits %v, answered %v", i, e.Key, fits, out != nil)
		}
		if out == nil {
			continue
		}
		answered++
		want := make([]byte, wire.MaxAnswer)
		want = want[:e.Replay(want, spelled, age)]
		if got := message(t, out, client, server, kind); !bytes.Equal(got, want) {
			t.Fatalf("%d: answered\n% x, want\n% x", i, got, want)
		}
		if t.Failed() {
			t.Fatalf("%d: % x", i, out)
		}
	}
	if answered < 5000 {
		t.Errorf("only %d answers", answered)
	}
	p.table.harvest(clock(), func(uint16) bool { return true })
	if total := counted.Load(); total != uint64(answered) {
		t.Errorf("counted %d of %d answers", total, answered)
	}
}

// randomEntry makes a query and its answer.
func randomEntry(rng *rand.Rand) (query []byte, e *store.Entry, ok bool) {
	m := new(dns.Msg)
	name := ""
	for range 1 + rng.IntN(5) {
		label := make([]byte, 1+rng.IntN(20))
		for i := range label {
			label[i] = "abcdefghijklmnopqrstuvwxyz0123456789-_"[rng.IntN(38)]
		}
		name += string(label) + "."
	}
	types := []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS, dns.TypeSRV, 97}
	m.SetQuestion(name, types[rng.IntN(len(types))])
	m.RecursionDesired, m.AuthenticatedData, m.CheckingDisabled = rng.IntN(2) == 0, rng.IntN(2) == 0, rng.IntN(2) == 0
	if rng.IntN(2) == 0 {
		m.SetEdns0(uint16(rng.Uint32()), rng.IntN(2) == 0)
	}
	m.Id = uint16(rng.Uint32())
	query, err := m.Pack()
	if err != nil {
		return nil, nil, false
	}
	var buf [wire.MaxKey]byte
	key, ok := wire.ParseQuery(query, buf[:0])
	if !ok {
		return nil, nil, false
	}
	r := new(dns.Msg)
	r.SetReply(m)
	r.Authoritative, r.RecursionAvailable = rng.IntN(2) == 0, rng.IntN(2) == 0
	r.Compress = rng.IntN(4) > 0
	for range 1 + rng.IntN(6) {
		h := dns.RR_Header{Name: name, Class: dns.ClassINET, Ttl: 3 + rng.Uint32N(100000)}
		switch rng.IntN(3) {
		case 0:
			h.Rrtype = dns.TypeA
			r.Answer = append(r.Answer, &dns.A{Hdr: h, A: net.IPv4(10, 1, byte(rng.IntN(256)), byte(rng.IntN(256)))})
		case 1:
			h.Rrtype = dns.TypeTXT
			r.Answer = append(r.Answer, &dns.TXT{Hdr: h, Txt: []string{fmt.Sprint(rng.IntN(1 << rng.IntN(30)))}})
		case 2:
			h.Rrtype = dns.TypeCNAME
			r.Ns = append(r.Ns, &dns.CNAME{Hdr: h, Target: "x." + name})
		}
	}
	if o := m.IsEdns0(); o != nil {
		r.SetEdns0(1232, o.Do())
	}
	answer, err := r.Pack()
	if err != nil {
		return nil, nil, false
	}
	a, ok := wire.ReadAnswer(answer, key)
	return query, &store.Entry{Key: bytes.Clone(key), Wire: answer, TTLs: a.TTLs, Ends: a.TTL}, ok
}

// respell gives a query another ID, and its name a mix of upper and lower case.
func respell(rng *rand.Rand, query []byte) []byte {
	out := bytes.Clone(query)
	out[0], out[1] = byte(rng.Uint32()), byte(rng.Uint32())
	for off := 12; out[off] != 0; off += 1 + int(out[off]) {
		for i := off + 1; i <= off+int(out[off]); i++ {
			if 'a' <= out[i] && out[i] <= 'z' && rng.IntN(2) == 0 {
				out[i] -= 'a' - 'A'
			}
		}
	}
	return out
}

// at is a clock that stands still.
func at(now time.Duration) func() time.Duration { return func() time.Duration { return now } }
