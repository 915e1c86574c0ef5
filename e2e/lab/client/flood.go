// SPDX-License-Identifier: Apache-2.0

package client

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

// Flood is a stream of UDP packets to port 53. A pod with CAP_NET_RAW can send it: the packets go out by raw sockets. Nobody
// reads the answers.
type Flood struct {
	From    *netns.Namespace
	Target  netip.Addr
	Sources []netip.Addr // of the packets, in turn: the address of the pod, or those of Absent
	Rate    int          // packets a second; 0: as many as it can, 100,000 and more
	Payload Payload
}

// Flooding is a running flood.
type Flooding struct {
	Flood
	raw, sink  net.PacketConn // sink has the source port; without it the pod's kernel would refuse the answers
	port       uint16
	stop, done chan struct{}
	sent       atomic.Int64
	err        error
}

// Absent lists addresses of the pod's own subnet that nobody has, 250 at most.
func Absent(pod netip.Addr, n int) []netip.Addr {
	addrs := make([]netip.Addr, n)
	for i := range addrs {
		b := pod.AsSlice()
		b[len(b)-1] = byte(3 + i)
		addrs[i], _ = netip.AddrFromSlice(b)
	}
	return addrs
}

// floodBatch is how many packets one system call sends.
const floodBatch = 64

// Start begins to send. The flood ends with the test, if it is not stopped before.
func (f Flood) Start(t testing.TB) *Flooding {
	t.Helper()
	g := &Flooding{Flood: f, stop: make(chan struct{}), done: make(chan struct{})}
	if err := f.From.Run(g.open); err != nil {
		t.Fatalf("opening raw sockets in %s: %v", f.From.Name, err)
	}
	go g.run()
	t.Cleanup(func() { g.end() })
	return g
}

func (g *Flooding) open() (err error) {
	raw, sink, any := "ip4:255", "udp4", "0.0.0.0" // 255 is IPPROTO_RAW: the packets bring their own IP header
	if g.Target.Is6() {
		raw, sink, any = "ip6:255", "udp6", "[::]"
	}
	if g.sink, err = net.ListenPacket(sink, any+":0"); err != nil {
		return err
	}
	g.port = g.sink.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	if g.raw, err = net.ListenPacket(raw, netip.MustParseAddrPort(any+":0").Addr().String()); err != nil {
		g.sink.Close()
	}
	return err
}

// Stop ends the flood and returns the number of packets. A flood that could not send fails the test.
func (g *Flooding) Stop(t testing.TB) int {
	t.Helper()
	if g.end(); g.err != nil {
		t.Errorf("sending from %s to %s: %v", g.From.Name, g.Target, g.err)
	}
	return g.Sent()
}

// Sent is the number of packets so far.
func (g *Flooding) Sent() int { return int(g.sent.Load()) }

func (g *Flooding) end() {
	select {
	case <-g.stop:
	default:
		close(g.stop)
	}
	<-g.done
	g.raw.Close()
	g.sink.Close()
}

func (g *Flooding) run() {
	defer close(g.done)
	var conn interface {
		WriteBatch([]ipv4.Message, int) (int, error)
	} = ipv4.NewPacketConn(g.raw)
	if g.Target.Is6() {
		conn = ipv6.NewPacketConn(g.raw)
	}
	to := &net.IPAddr{IP: g.Target.AsSlice()}
	batch, buffers := make([]ipv4.Message, floodBatch), make([][]byte, floodBatch)
	begin, tick := time.Now(), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for sent := 0; ; {
		n := g.due(time.Since(begin)) - sent
		if !g.goesOn(tick.C, n) {
			return
		}
		n = max(0, min(n, floodBatch))
		for i := range n {
			buffers[i] = g.packet(buffers[i][:0], sent+i)
			batch[i] = ipv4.Message{Buffers: buffers[i : i+1], Addr: to}
		}
		if n > 0 {
			k, err := conn.WriteBatch(batch[:n], 0)
			if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EPERM) { // with these two the pod's own kernel drops the packet
				g.err = err
				return
			}
			sent += max(k, 0)
			g.sent.Store(int64(sent))
		}
	}
}

// due is the number of packets that the flood should have sent after the time d.
func (g *Flooding) due(d time.Duration) int {
	if g.Rate == 0 {
		return int(^uint(0) >> 1)
	}
	return int(d.Seconds() * float64(g.Rate))
}

// goesOn waits for a tick if no packet is due. It returns false if the flood was stopped.
func (g *Flooding) goesOn(tick <-chan time.Time, due int) bool {
	if due > 0 {
		tick = nil
	}
	select {
	case <-g.stop:
		return false
	case <-tick:
	default:
		if due > 0 {
			return true
		}
		select {
		case <-g.stop:
			return false
		case <-tick:
		}
	}
	return true
}

// packet appends the i-th packet with its headers.
func (g *Flooding) packet(b []byte, i int) []byte {
	source := g.Sources[i%len(g.Sources)]
	header := 20
	if g.Target.Is6() {
		header = 40
	}
	b = append(b, make([]byte, header+8)...)
	b = g.Payload(b, i)
	ip, udp := b[:header], b[header:]
	if g.Target.Is6() {
		ip[0], ip[6], ip[7] = 0x60, unix.IPPROTO_UDP, 64
		binary.BigEndian.PutUint16(ip[4:], uint16(len(udp)))
		copy(ip[8:], source.AsSlice())
		copy(ip[24:], g.Target.AsSlice())
	} else { // the kernel fills in the length and the checksum
		ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_UDP
		copy(ip[12:], source.AsSlice())
		copy(ip[16:], g.Target.AsSlice())
	}
	binary.BigEndian.PutUint16(udp, g.port)
	binary.BigEndian.PutUint16(udp[2:], 53)
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	if g.Target.Is6() { // over IPv4 a packet may have no checksum
		binary.BigEndian.PutUint16(udp[6:], checksum(b))
	}
	return b
}

// String names the flood.
func (f Flood) String() string {
	return fmt.Sprintf("%d packets/s from %d sources to %s", f.Rate, len(f.Sources), f.Target)
}
