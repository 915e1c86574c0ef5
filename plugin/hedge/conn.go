// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A conn is one TCP connection to an upstream. It carries one question at a time: a DNS server may answer the questions of a
// connection in order (RFC 7766, section 6.2.1.1), so a slow answer would delay the others.
type conn struct {
	tcp      *net.TCPConn
	way      time.Duration // round-trip time, measured with the handshake, which no kernel delays
	born     time.Time     // when the conn was established, or when renew last failed to replace it
	answered time.Time     // when the last answer came; before the first answer: when the conn was established
	retired  bool          // renew has replaced the conn: it gets no more questions. The pool's lock guards it.
	wear     wear          // only the goroutine that has the conn uses it

	in   []byte // what was read; in[:have] is valid
	have int
}

// A wear is the life of a conn. It only grows.
type wear int

const (
	fresh   wear = iota // the conn has carried no question
	used                // the conn has carried questions
	spoiled             // more than the answer came: the conn can carry no other question
)

// grown is the state of a conn in state w after an event that leads to state to.
func (w wear) grown(to wear) wear { return max(w, to) }

// usualAnswer is the size of the buffer for an answer, in octets.
const usualAnswer = 1024

// newConn returns the conn for tcp. took is the time of the handshake.
func newConn(tcp *net.TCPConn, took time.Duration) *conn {
	now := time.Now()
	return &conn{tcp: tcp, way: min(took, mostDialPatience), born: now, answered: now, in: make([]byte, usualAnswer)}
}

// until sets the deadline of the next reads and writes.
func (c *conn) until(deadline time.Time) { _ = c.tcp.SetDeadline(deadline) } // a closed conn reports the error at the next use

// A flight is a question on its way over a connection.
type flight struct {
	conn     *conn
	sent     time.Time
	patience time.Duration // a packet without an acknowledgement is lost after this time
}

// ask returns the flight of a question that the caller sends next. The question ends at deadline. Reads end at patient, and
// writes at deadline: a process that did not run until patient must still send.
func (c *conn) ask(patient, deadline time.Time) flight {
	f := flight{conn: c, sent: time.Now(), patience: newPatience + 2*c.way}
	if c.wear != fresh {
		f.patience = oldPatience + 2*c.way
	}
	c.wear = c.wear.grown(used)
	_ = c.tcp.SetWriteDeadline(deadline) // a closed conn reports the error at the next use
	_ = c.tcp.SetReadDeadline(patient)
	return f
}

// exchange sends wire, a message behind its length, and returns the answer. After os.ErrDeadlineExceeded the answer can still
// come: the caller may wait with receive.
func (c *conn) exchange(wire []byte) ([]byte, error) {
	if _, err := c.tcp.Write(wire); err != nil {
		return nil, err
	}
	return c.receive()
}

// receive returns the next message. The slice is valid until the next call.
func (c *conn) receive() ([]byte, error) {
	if err := c.fill(2); err != nil {
		return nil, err
	}
	size := 2 + int(binary.BigEndian.Uint16(c.in))
	if err := c.fill(size); err != nil {
		return nil, err
	}
	if c.have > size {
		c.wear = c.wear.grown(spoiled)
	}
	c.have = 0
	answer := c.in[2:size]
	if len(c.in) > usualAnswer {
		c.in = make([]byte, usualAnswer)
	}
	return answer, nil
}

// fill reads until there are n octets.
func (c *conn) fill(n int) error {
	for c.have < n {
		if c.have == len(c.in) { // grow slowly: an upstream may announce a length and send less
			c.in = append(c.in, make([]byte, min(n, 2*c.have)-c.have)...)
		}
		got, err := c.tcp.Read(c.in[c.have:])
		c.have += got
		if err != nil && c.have < n {
			return err
		}
	}
	return nil
}

// The kernel of the upstream acknowledges a packet within newPatience on a new connection (tcp_enter_quickack_mode,
// net/ipv4/tcp_input.c). On an old connection the kernel waits for an answer to send with the acknowledgement, for 40 ms at most
// (TCP_DELACK_MIN, include/net/tcp.h).
const (
	newPatience = 20 * time.Millisecond
	oldPatience = 45 * time.Millisecond
)

// lost reports whether the question was lost on its way: it has no acknowledgement within its patience. The kernel below a slow
// or stopped server still acknowledges.
func (f flight) lost() bool {
	if time.Since(f.sent) < f.patience {
		return false
	}
	raw, err := f.conn.tcp.SyscallConn()
	if err != nil {
		return false
	}
	var info *unix.TCPInfo
	if raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }) != nil || err != nil {
		return false
	}
	return info.Unacked > 0
}

// abort closes the connection with a reset. Data on the way are of no use, and a pod that is gone would not answer a FIN.
func (c *conn) abort() {
	_ = c.tcp.SetLinger(0) // an error changes nothing: Close follows
	_ = c.tcp.Close()
}

func timedOut(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
