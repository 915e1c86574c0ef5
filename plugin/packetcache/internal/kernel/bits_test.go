// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

// TestEveryBit changes each bit of a frame, and repairs the checksums. The program answers only if the bit says nothing of the question,
// of who asks whom, and of the packet's form.
func TestEveryBit(t *testing.T) {
	nettest.InNamespace(t)
	p, servers, _ := loaded(t)
	query := known(t, servers)
	for server, client := range map[netip.Addr]netip.Addr{server4: client4, server6: client6} {
		f := frame(client, server, query, complete)
		udp := len(f) - 8 - len(query)
		answered := 0
		for i := range 8 * len(f) {
			changed := bytes.Clone(f)
			changed[i/8] ^= 1 << (i % 8)
			repair(changed, udp)
			out := run(t, p, changed)
			if want := harmless(i/8, byte(1)<<(i%8), udp, query); want != (out != nil) {
				t.Errorf("%s: octet %d, bit %d: answered %v, want %v", server, i/8, i%8, out != nil, want)
			}
			if port := i/8-udp == 0 || i/8-udp == 1; out != nil && !port { // message knows the usual port alone
				answered++
				if got := message(t, out, client, server, complete); !bytes.Equal(got[:2], changed[udp+8:udp+10]) {
					t.Errorf("%s: octet %d, bit %d: another ID", server, i/8, i%8)
				}
			}
		}
		if answered == 0 {
			t.Errorf("%s: none was answered", server)
		}
		for n := udp; n < len(f)+14; n++ { // too short, and too long
			if out := run(t, p, append(bytes.Clone(f), make([]byte, 14)...)[:n]); (out != nil) != (n == len(f)) {
				t.Errorf("%s: %d of %d octets: answered % x", server, n, len(f), out)
			}
		}
	}
}

// TestAround has frames with a known query, of which the kernel says more. A self-query has to reach the process, as it asks whether the
// process answers. A frame with a gso_size is several datagrams in one.
func TestAround(t *testing.T) {
	nettest.InNamespace(t)
	p, servers, _ := loaded(t)
	query := known(t, servers)
	for _, c := range []struct {
		mark, gsoSize uint32
		answered      bool
	}{
		{0, 0, true}, {testMark, 0, false}, {testMark + 1, 0, true}, {0, 20, false},
	} {
		ctx := make([]byte, 192) // struct __sk_buff
		binary.LittleEndian.PutUint32(ctx[8:], c.mark)
		binary.LittleEndian.PutUint32(ctx[176:], c.gsoSize)
		f := frame(client4, server4, query, complete)
		verdict, err := p.objects.Nodelocaldns.Run(&ebpf.RunOptions{Data: f, DataOut: make([]byte, 2048), Context: ctx})
		if err != nil {
			t.Fatal(err)
		}
		if got := int32(verdict) == 7; got != c.answered {
			t.Errorf("%+v: answered %v", c, got)
		}
	}
}

// TestMapped has a query by IPv6 with the IPv4 addresses of a client and a server.
func TestMapped(t *testing.T) {
	nettest.InNamespace(t)
	p, servers, _ := loaded(t)
	query := known(t, servers)
	mapped := func(a netip.Addr) netip.Addr { return netip.AddrFrom16(a.As16()) }
	f := frame(mapped(client4), mapped(server4), query, complete)
	if f[14]>>4 != 6 {
		t.Fatal("not IPv6")
	}
	if out := run(t, p, f); out != nil {
		t.Errorf("answered % x", out)
	}
}

// TestBusy has a run of the program stand still on each CPU: a second run has no scratch, and passes the query on.
func TestBusy(t *testing.T) {
	nettest.InNamespace(t)
	p, servers, _ := loaded(t)
	f := frame(client4, server4, known(t, servers), complete)
	cpus := make([]answerScratch, ebpf.MustPossibleCPU())
	for _, busy := range []uint32{0, 1, 0} {
		for i := range cpus {
			cpus[i].Busy = busy
		}
		if err := p.objects.Scratches.Put(uint32(0), cpus); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if answered := run(t, p, bytes.Clone(f)) != nil; answered != (busy == 0) {
				t.Errorf("busy %d: answered %v", busy, answered)
			}
		}
	}
}

// harmless reports whether a bit of a frame makes no difference. udp is the offset of the UDP header.
func harmless(at int, bit byte, udp int, query []byte) bool {
	ip, inUDP, inMessage := at-14, at-udp, at-udp-8
	switch {
	case ip < 0:
		return false
	case inMessage >= 12 && inMessage < 12+len("www.example.org.")+1: // another spelling
		c := query[inMessage] | 0x20
		return bit == 0x20 && 'a' <= c && c <= 'z'
	case inMessage >= 0:
		return inMessage < 2 // the ID
	case inUDP >= 0:
		return inUDP < 2 || inUDP >= 6 // the client's port; the checksum is repaired
	case udp == 14+20:
		return ip == 1 || ip == 4 || ip == 5 || ip == 8 || ip == 10 || ip == 11 || // TOS, ID, TTL, the checksum
			ip == 6 && bit&0xc0 != 0 // DF, and a bit without a meaning
	default:
		return ip == 0 && bit < 0x10 || 1 <= ip && ip <= 3 || ip == 7 // traffic class, flow label, hop limit
	}
}
