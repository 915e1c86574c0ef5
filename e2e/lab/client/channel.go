// SPDX-License-Identifier: Apache-2.0

package client

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// channel carries many queries at a time over one long-lived socket.
type channel struct {
	probe       Probe
	mu          sync.Mutex
	conn        *dns.Conn
	connections uint16 // how many were tried from a fixed port
	pending     map[uint16]flight
	readers     sync.WaitGroup
}

// flight is a query that waits for its answer.
type flight struct {
	question *dns.Msg
	answer   chan *dns.Msg
	conn     *dns.Conn
}

func newChannel(p Probe) *channel { return &channel{probe: p, pending: map[uint16]flight{}} }

// ask sends a query and waits for its answer. An ICMP error on a UDP socket does not say which query it is about, so that query
// ends by its timeout.
func (c *channel) ask(msg *dns.Msg) (*dns.Msg, error) {
	timeout := time.NewTimer(c.probe.Timeout)
	defer timeout.Stop()
	f, err := c.send(msg)
	if err != nil {
		return nil, err
	}
	defer c.forget(msg.Id)
	select {
	case answer, ok := <-f.answer:
		if !ok {
			return nil, errors.New("connection ended before the answer")
		}
		return answer, nil
	case <-timeout.C:
		return nil, errors.New("no answer in time")
	}
}

func (c *channel) send(msg *dns.Msg) (flight, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		if err := c.dial(); err != nil {
			return flight{}, err
		}
	}
	f := flight{msg, make(chan *dns.Msg, 1), c.conn}
	c.pending[msg.Id] = f
	err := c.conn.WriteMsg(msg)
	if errors.Is(err, syscall.ECONNREFUSED) && !c.probe.TCP {
		err = c.conn.WriteMsg(msg) // the first error was about an earlier packet, and nothing was sent
	}
	if err != nil {
		delete(c.pending, msg.Id)
	}
	return f, err
}

func (c *channel) dial() error {
	target := Port53(c.probe.Target)
	conn, err := c.open(target)
	if err != nil {
		return err
	}
	c.conn = &dns.Conn{Conn: conn, UDPSize: dns.MaxMsgSize}
	c.readers.Add(1)
	go c.read(c.conn)
	return nil
}

func (c *channel) open(target netip.AddrPort) (conn net.Conn, err error) {
	if c.probe.Socket != Unconnected {
		return c.probe.From.DialFrom(Query{TCP: c.probe.TCP}.network(), netip.AddrPortFrom(netip.Addr{}, c.port()), target, c.probe.Timeout)
	}
	err = c.probe.From.Run(func() error {
		u, err := net.ListenUDP("udp", nil)
		conn = &unconnected{u, target}
		return err
	})
	return conn, err
}

// port is the local port of the next connection. A TCP connection takes the port after that of the connection before: a
// connection with the same two ends is not possible for a minute, since one end is in TIME_WAIT, or has died without telling
// the other.
func (c *channel) port() uint16 {
	port := c.probe.LocalPort
	if port != 0 && c.probe.TCP {
		port += c.connections
		c.connections++
	}
	return port
}

// read gives each answer to the query that waits for it, until the connection ends.
func (c *channel) read(conn *dns.Conn) {
	defer c.readers.Done()
	for {
		msg, err := conn.ReadMsg()
		var dnsErr *dns.Error
		switch {
		case err == nil:
			c.deliver(msg)
		case errors.Is(err, syscall.ECONNREFUSED) && !c.probe.TCP, errors.As(err, &dnsErr):
		default:
			c.drop(conn)
			return
		}
	}
}

func (c *channel) deliver(msg *dns.Msg) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f, ok := c.pending[msg.Id]; ok && answers(msg, f.question) {
		delete(c.pending, msg.Id)
		f.answer <- msg
	}
}

// drop ends a connection, and the queries that wait for answers on it.
func (c *channel) drop(conn *dns.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	conn.Close()
	for id, f := range c.pending {
		if f.conn == conn {
			delete(c.pending, id)
			close(f.answer)
		}
	}
	if c.conn == conn {
		c.conn = nil
	}
}

func (c *channel) forget(id uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, id)
}

func (c *channel) close() {
	c.mu.Lock()
	if c.conn != nil {
		c.conn.Close()
	}
	c.mu.Unlock()
	c.readers.Wait()
}

// unconnected is a UDP socket that is not connected, but used with one peer only.
type unconnected struct {
	*net.UDPConn
	peer netip.AddrPort
}

func (u *unconnected) Write(b []byte) (int, error) { return u.WriteToUDPAddrPort(b, u.peer) }

func (u *unconnected) Read(b []byte) (int, error) {
	for {
		n, from, err := u.ReadFromUDPAddrPort(b)
		if err != nil || netip.AddrPortFrom(from.Addr().Unmap(), from.Port()) == u.peer {
			return n, err
		}
	}
}
