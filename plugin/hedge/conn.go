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

// A conn is one TCP connection to an upstream. It carries one question at a time: a DNS server may answer the
// questions of a connection in their order (RFC 7766 section 6.2.1.1), and a slow one would hold up the others.
type conn struct {
	tcp      *net.TCPConn
	way      time.Duration // there and back, as the handshake took: no acknowledgement is delayed in it
	born     time.Time     // when it was established, or last known to be the best that can be had
	answered time.Time     // when it last carried an answer; at first: when it was established
	retired  bool          // a younger one has taken its place: close it in place of using it
	asked    bool          // it has had a question
	spoiled  bool          // more has come than was asked for: it is of no use for another question

	in   []byte // what has been read; in[:have] is valid
	have int
}

// usualAnswer is the room, in octets, that a connection keeps for an answer.
const usualAnswer = 1024

// newConn is told how long it took to establish the connection.
func newConn(tcp *net.TCPConn, took time.Duration) *conn {
	now := time.Now()
	return &conn{tcp: tcp, way: min(took, mostDialPatience), born: now, answered: now, in: make([]byte, usualAnswer)}
}

// until bounds what follows.
func (c *conn) until(deadline time.Time) { _ = c.tcp.SetDeadline(deadline) } // an error of a closed one comes again

// A flight is a question that is being sent over a connection.
type flight struct {
	conn     *conn
	sent     time.Time
	patience time.Duration // after which a packet that is not acknowledged is lost
}

// ask notes that a question is about to be sent, which ends at the deadline. Its answer is first waited for until patient:
// a process that did not run for so long must still send.
func (c *conn) ask(patient, deadline time.Time) flight {
	f := flight{conn: c, sent: time.Now(), patience: newPatience + 2*c.way}
	if c.asked {
		f.patience = oldPatience + 2*c.way
	}
	c.asked = true
	_ = c.tcp.SetWriteDeadline(deadline) // an error of a closed connection comes again
	_ = c.tcp.SetReadDeadline(patient)
	return f
}

// exchange sends wire, a message with its length in front, and returns the answer. After os.ErrDeadlineExceeded
// the answer can still come: receive goes on waiting for it.
func (c *conn) exchange(wire []byte) ([]byte, error) {
	if _, err := c.tcp.Write(wire); err != nil {
		return nil, err
	}
	return c.receive()
}

// receive returns the next message, which is valid until the next call.
func (c *conn) receive() ([]byte, error) {
	if err := c.fill(2); err != nil {
		return nil, err
	}
	size := 2 + int(binary.BigEndian.Uint16(c.in))
	if err := c.fill(size); err != nil {
		return nil, err
	}
	c.spoiled = c.spoiled || c.have > size
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
		if c.have == len(c.in) { // what a length announces need not come
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

// How long the other side's kernel may take to acknowledge a packet. On a new connection it does so at once
// (tcp_enter_quickack_mode, net/ipv4/tcp_input.c), later it waits for an answer to go with it (TCP_DELACK_MIN, 40 ms,
// include/net/tcp.h).
const (
	newPatience = 20 * time.Millisecond
	oldPatience = 45 * time.Millisecond
)

// lost reports whether the question was lost on its way: it is longer unacknowledged than the kernel of a pod that is there
// takes. A server that is slow, or even stopped, has a kernel that acknowledges.
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

// abort closes the connection without a farewell: nothing that is still on its way is wanted, and a peer that is gone
// would not acknowledge one.
func (c *conn) abort() {
	_ = c.tcp.SetLinger(0) // only how it is closed
	_ = c.tcp.Close()
}

func timedOut(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
