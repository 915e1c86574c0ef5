// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/e2e/bench/loads"
)

const (
	timeout   = 500 * time.Millisecond // a query without an answer for so long is lost
	checkTime = 50 * time.Millisecond  // how often to look for lost queries when no answer comes
	rcodeMask = 0x0f
)

// tally is what became of the queries.
type tally struct {
	Sent, Answered, Lost int
	Wrong                int // answered, but not as expected
	Late                 int // answers to a query that is lost, or to none
	Seconds              float64
	latencies            []time.Duration
}

// quantiles sorts the latencies, and returns the median and the latencies that 99 and 99.9 % of the answers do not exceed. They
// are 0 if there was no answer.
func (t tally) quantiles() (p50, p99, p999 time.Duration) {
	n := len(t.latencies)
	if n == 0 {
		return 0, 0, 0
	}
	slices.Sort(t.latencies)
	return t.latencies[n/2], t.latencies[n*99/100], t.latencies[n*999/1000]
}

// flight is a query that may be on its way.
type flight struct {
	open  bool
	rcode byte
	sent  time.Duration
}

// generator asks over one socket, from one thread that does nothing else. It can do three things that dnsperf cannot:
//   - It moves many packets in a system call. So it keeps up with the fastest server, and takes little of a core that it shares
//     with the server.
//   - It keeps the latency of each answer, where dnsperf prints the average.
//   - At a fixed rate it can spin in the place of sleeping. Then no latency contains the waking up of the client.
//
// dnsperf does what needs none of the three: TCP, and the filling of caches.
type generator struct {
	tally
	fd           int
	load         loads.Load
	begin        time.Time
	in, out      *batch
	flights      [1 << 16]flight // by ID; IDs are given out in order
	next, oldest uint16
	open         int
	err          error
}

// receiveBuffer is in bytes. It has room for some 10,000 answers, which come while the client does not run: whatever is lost is
// lost by the server.
const receiveBuffer = 8 << 20

// newGenerator connects to the server.
func newGenerator(server string, l loads.Load) (*generator, error) {
	addr, err := netip.ParseAddrPort(server)
	if err != nil {
		return nil, err
	}
	g := &generator{load: l, in: newBatch(true), out: newBatch(true), begin: time.Now()}
	g.latencies = make([]time.Duration, 0, 1<<20)
	if g.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	wait := unix.NsecToTimeval(int64(checkTime))
	err = unix.SetsockoptTimeval(g.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait)
	if err == nil {
		err = unix.SetsockoptInt(g.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
	}
	if err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	return g, os.NewSyscallError("connect", unix.Connect(g.fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}))
}

func (g *generator) now() time.Duration { return time.Since(g.begin) }

// run asks as the task says for the time d. The tally is that of this run.
func (g *generator) run(t task, d time.Duration) error {
	g.tally = tally{latencies: g.latencies[:0]}
	if t.Rate > 0 {
		return g.pace(t.Rate, d, t.Spin)
	}
	return g.saturate(t.InFlight, d)
}

// saturate keeps so many queries in flight until the time is over.
func (g *generator) saturate(inFlight int, d time.Duration) error {
	begin := g.now()
	for g.err == nil && g.now()-begin < d {
		g.send(inFlight - g.open)
		g.receive(0)
	}
	return g.finish(begin)
}

// pace sends queries one by one at a fixed rate, whatever becomes of them. When it spins, an answer does not have to wake the
// client, so the latency does not contain the waking up. Then no other process can have the core.
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
		size, rcode := g.load.Next(buf)
		binary.BigEndian.PutUint16(buf, g.take(now, rcode))
		g.out.resize(i, size)
	}
	if err := g.out.send(g.fd, n); err != nil {
		g.err = err
	}
	g.Sent += n
}

// take gives out the next ID. A query that has had this ID since all other IDs were given out is lost.
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
	g.latencies = append(g.latencies, now-f.sent)
	if !asExpected(packet, f.rcode) {
		g.Wrong++
	}
}

// asExpected reports whether the header is that of a complete answer with this response code, and with records if the name
// exists.
func asExpected(packet []byte, rcode byte) bool {
	const response, truncated = 0x80, 0x02
	records := packet[6] != 0 || packet[7] != 0
	return packet[2]&(response|truncated) == response && packet[3]&rcodeMask == rcode && records == (rcode == 0)
}

// expire counts the queries that have waited too long. It stops at the oldest query that has not.
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
