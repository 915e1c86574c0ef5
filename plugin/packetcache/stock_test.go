// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/udp"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wire"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wiretest"
)

// TestSameOnUnusual asks two servers, one of them with packetcache, what is not of the usual form, and compares as TestSameAnswers does.
func TestSameOnUnusual(t *testing.T) {
	up := upstream(t)
	stock, ours := serve(t, corefile(up, false)), serve(t, corefile(up, true))
	refused := counted(t, "coredns_packetcache_refused_total", ours)
	for name, packets := range unusualPackets(t) {
		var a, b [][]byte
		var both sync.WaitGroup
		both.Go(func() { a = answers(t, stock, packets) })
		both.Go(func() { b = answers(t, ours, packets) })
		both.Wait() // at the same time, as TTLs are compared
		if err := differs(packets, a, b); err != "" {
			t.Errorf("%s: %s", name, err)
		}
	}
	if n := counted(t, "coredns_packetcache_refused_total", ours) - refused; n > 0 {
		t.Errorf("%g refused", n)
	}
}

// unusualPackets returns, by kind, packets of 512 octets at most. Their IDs are their places.
func unusualPackets(t *testing.T) map[string][][]byte {
	plain := wiretest.Pack(t, "a1.n1.test.", dns.TypeA, nil)
	full := wiretest.Pack(t, "a1.n1.test.", dns.TypeA, func(m *dns.Msg) {
		wiretest.Option(&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"})(m)
		m.SetTsig("k.", dns.HmacSHA256, 300, time.Now().Unix())
	})
	kinds := map[string][][]byte{
		"opcodes": each(16, plain, func(p []byte, i int) []byte { p[2] |= byte(i << 3); return p }),
		"flags":   each(256, plain, func(p []byte, i int) []byte { p[2] = byte(i); return p }),
		"codes":   each(256, plain, func(p []byte, i int) []byte { p[3] = byte(i); return p }),
		"cut":     each(len(full), full, func(p []byte, i int) []byte { return p[:max(i, 2)] }),
		"versions": each(256, wiretest.Pack(t, "a1.n1.test.", dns.TypeA, wiretest.EDNS(1232, false)), func(p []byte, i int) []byte {
			p[len(p)-5] = byte(i)
			return p
		}),
		"counts": each(4*6, plain, func(p []byte, i int) []byte { // of the sections that follow, and that do not
			binary.BigEndian.PutUint16(p[4+i%4*2:], []uint16{0, 1, 2, 3, 255, 65535}[i/4])
			return p
		}),
		"two questions": each(4, append(bytes.Clone(plain), plain[wire.HeaderLen:]...), func(p []byte, i int) []byte {
			p[5] = byte(i)
			return p
		}),
		"pointers": each(len(plain)+20, plain, func(p []byte, i int) []byte { // at the name's start, forwards, back and to itself
			binary.BigEndian.PutUint16(p[wire.HeaderLen:], 0xc000|uint16(i))
			return p
		}),
		"bits": each(8*(len(full)-2), full, func(p []byte, i int) []byte { p[2+i/8] ^= 1 << (i % 8); return p }),
		"long": each(2, plain, func(p []byte, i int) []byte { return append(p, make([]byte, 511+i-len(p))...) }),
		"TSIG": each(2, full, func(p []byte, i int) []byte { return p }),
	}
	r := rand.New(rand.NewPCG(13, 4711))
	kinds["noise"] = each(1000, make([]byte, 512), func(p []byte, i int) []byte {
		p = p[:2+r.IntN(510)]
		for j := range p[2:] {
			p[2+j] = byte(r.Uint32())
		}
		if len(p) > wire.HeaderLen && i%2 == 0 { // the half has a header that is accepted
			copy(p[2:], []byte{1, 0, 0, 1, 0, 0, 0, 0, 0, byte(i / 2 % 3)})
		}
		return p
	})
	return kinds
}

// each returns n changed copies of a packet.
func each(n int, packet []byte, change func(packet []byte, i int) []byte) (packets [][]byte) {
	for i := range n {
		p := change(bytes.Clone(packet), i)
		binary.BigEndian.PutUint16(p, uint16(i))
		packets = append(packets, p)
	}
	return packets
}

// answers asks a few at a time, and again what was not answered.
func answers(t *testing.T, addr string, packets [][]byte) [][]byte {
	t.Helper()
	got := make([][]byte, len(packets))
	for range 2 {
		c := dial(t, addr)
		for first := 0; first < len(packets); first += 32 {
			last := min(first+32, len(packets))
			for i := first; i < last; i++ {
				if got[i] == nil {
					_, _ = c.Write(packets[i])
				}
			}
			collect(c, got, 10*time.Millisecond)
		}
		collect(c, got, 300*time.Millisecond)
		_ = c.Close()
	}
	return got
}

// collect reads answers until none comes for a while.
func collect(c net.Conn, got [][]byte, wait time.Duration) {
	for slices.ContainsFunc(got, func(a []byte) bool { return a == nil }) {
		buf := make([]byte, 4096)
		_ = c.SetReadDeadline(time.Now().Add(wait))
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if id := int(binary.BigEndian.Uint16(buf)); n >= 2 && id < len(got) {
			got[id] = buf[:n]
		}
	}
}

// differs says how the first answers differ that do; "" if none do, and some packets were answered.
func differs(packets, stock, ours [][]byte) string {
	answered := false
	for i := range packets {
		answered = answered || stock[i] != nil
		if err := same(stock[i], ours[i]); err != nil {
			return fmt.Sprintf("%v\n%x", err, packets[i])
		}
	}
	if !answered {
		return "nothing was answered"
	}
	return ""
}

// TestBeyond512 asks with more octets than the stock server reads: the packet cache has the plugins answer.
func TestBeyond512(t *testing.T) {
	c := dial(t, serve(t, corefile(upstream(t), true)))
	for _, size := range []int{100, 468, 512, 1232, 4000} {
		query := wiretest.Pack(t, "a1.n1.test.", dns.TypeA, wiretest.Option(&dns.EDNS0_PADDING{Padding: make([]byte, size)}))
		var m dns.Msg
		if err := m.Unpack(ask(c, query, 2*time.Second)); err != nil || m.Rcode != dns.RcodeSuccess || len(m.Answer) != 1 {
			t.Errorf("%d octets: %v\n%v", len(query), err, &m)
		}
	}
	query := wiretest.Pack(t, "a1.n1.test.", dns.TypeA, wiretest.Option(&dns.EDNS0_PADDING{Padding: make([]byte, udp.MaxQuery)}))
	var m dns.Msg
	if err := m.Unpack(ask(c, query, 2*time.Second)); err != nil || m.Rcode != dns.RcodeFormatError {
		t.Errorf("%d octets: %v\n%v", len(query), err, &m)
	}
}

// TestSecrets has a listener with secrets for TSIG, of a plugin that nobody knows here.
func TestSecrets(t *testing.T) {
	for secrets, want := range map[string]int{"": 1, "k.": 0} {
		s, ss := &dnsserver.Server{Addr: "dns://" + wiretest.FreePort(t)}, &servers{options: options{TTL: defaultTTL, Size: minSize}}
		if secrets != "" {
			s.TsigSecret = map[string]string{secrets: "c2VjcmV0"}
		}
		ss.start(s)
		if len(ss.all) != want {
			t.Errorf("secret %q: %d packet caches, want %d", secrets, len(ss.all), want)
		}
		if err := ss.close(); err != nil {
			t.Error(err)
		}
	}
}
