// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	timeout   = 500 * time.Millisecond // without an answer for so long, a query is lost
	checkTime = 50 * time.Millisecond  // how often to look for lost ones when nothing comes
	rcodeMask = 0x0f
)

// tally is what became of the queries.
type tally struct {
	Sent, Answered, Lost int
	Wrong                int // answered, but not as expected
	Late                 int // answers to no query that is waited for
	Reconnects           int // of TCP connections that the server has closed
	Seconds              float64
	latency              histogram
}

// flight is a query that may be on its way.
type flight struct {
	open  bool
	rcode byte
	sent  time.Duration
}

// generator asks over one socket, from one thread that does nothing else.
type generator struct {
	tally
	fd           int
	load         load
	begin        time.Time
	in, out      *batch
	flights      [1 << 16]flight // by ID; they are given out in order
	next, oldest uint16
	open         int
	err          error
}

// receiveBuffer has room for the answers, some 10,000, that come while the client does not run: what is lost is lost by the server.
const receiveBuffer = 8 << 20

// newGenerator connects to the server.
func newGenerator(server *net.UDPAddr, l load) (*generator, error) {
	g := &generator{load: l, in: newBatch(true), out: newBatch(true), begin: time.Now()}
	var err error
	if g.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	wait := unix.NsecToTimeval(int64(checkTime))
	if err := unix.SetsockoptTimeval(g.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	if err := unix.SetsockoptInt(g.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	to := &unix.SockaddrInet4{Port: server.Port, Addr: [4]byte(server.IP.To4())}
	return g, os.NewSyscallError("connect", unix.Connect(g.fd, to))
}

func (g *generator) now() time.Duration { return time.Since(g.begin) }

// saturate keeps so many queries in flight, until the time is over or so many are sent.
func (g *generator) saturate(inFlight int, d time.Duration, count int) error {
	begin := g.now()
	for g.err == nil && g.now()-begin < d && g.Sent < count {
		g.send(min(inFlight-g.open, count-g.Sent))
		g.receive(0)
	}
	return g.finish(begin)
}

// pace sends queries one by one at a fixed rate, whatever becomes of them. When it spins the answer does not have to wake it,
// and none of that is in the latency; but then nobody else can have the core.
func (g *generator) pace(rate int, d time.Duration, spin bool) error {
	interval := time.Second / time.Duration(rate)
	begin := g.now()
	due := begin
	for g.err == nil && due-begin < d {
		if g.now() >= due {
			g.send(1)
			due += interval
		}
		if !spin {
			g.waitUntil(due)
		}
		g.receive(unix.MSG_DONTWAIT)
	}
	return g.finish(begin)
}

// waitUntil returns at the time, or when there is something to read.
func (g *generator) waitUntil(due time.Duration) {
	left := due - g.now()
	if left <= 0 {
		return
	}
	wait := unix.NsecToTimespec(int64(left))
	_, err := unix.Ppoll([]unix.PollFd{{Fd: int32(g.fd), Events: unix.POLLIN}}, &wait, nil)
	if err != nil && !errors.Is(err, unix.EINTR) {
		g.err = fmt.Errorf("polling: %w", err)
	}
}

// finish waits for the last answers.
func (g *generator) finish(begin time.Duration) error {
	g.Seconds = (g.now() - begin).Seconds()
	for g.err == nil && g.open > 0 {
		g.receive(0)
	}
	return g.err
}

func (g *generator) send(n int) {
	n = min(n, batchSize)
	now := g.now()
	for i := range n {
		buf := g.out.data[i][:]
		size, rcode := g.load.next(buf)
		binary.BigEndian.PutUint16(buf, g.take(now, rcode))
		g.out.resize(i, size)
	}
	if err := g.out.send(g.fd, n); err != nil {
		g.err = err
	}
	g.Sent += n
}

// take gives out the next ID. A query that still has it when all others were used has been lost.
func (g *generator) take(now time.Duration, rcode byte) uint16 {
	id := g.next
	if g.flights[id].open {
		g.lose(id)
	}
	g.flights[id] = flight{true, rcode, now}
	g.open++
	g.next++
	return id
}

func (g *generator) receive(flags int) {
	n, err := g.in.receive(g.fd, flags)
	if err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
		g.err = fmt.Errorf("receiving: %w", err)
		return
	}
	now := g.now()
	for i := range n {
		g.answer(g.in.packet(i), now)
	}
	g.expire(now)
}

func (g *generator) answer(packet []byte, now time.Duration) {
	if len(packet) < 12 {
		g.Wrong++
		return
	}
	f := &g.flights[binary.BigEndian.Uint16(packet)]
	if !f.open {
		g.Late++
		return
	}
	f.open = false
	g.open--
	g.Answered++
	g.latency.add(now - f.sent)
	if !asExpected(packet, f.rcode) {
		g.Wrong++
	}
}

// asExpected looks at the header: a whole answer with this response code, and with records if the name exists.
func asExpected(packet []byte, rcode byte) bool {
	const response, truncated = 0x80, 0x02
	records := packet[6] != 0 || packet[7] != 0
	return packet[2]&(response|truncated) == response && packet[3]&rcodeMask == rcode && records == (rcode == 0)
}

// expire looks at the oldest queries only.
func (g *generator) expire(now time.Duration) {
	for ; g.oldest != g.next; g.oldest++ {
		f := &g.flights[g.oldest]
		if f.open && now-f.sent < timeout {
			return
		}
		if f.open {
			g.lose(g.oldest)
		}
	}
}

func (g *generator) lose(id uint16) {
	g.flights[id].open = false
	g.open--
	g.Lost++
}
