// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// askTCP asks over some connections, on each one query at a time, and adds up what became of the queries.
func askTCP(server string, loadName string, connections int, d time.Duration) (tally, error) {
	var group sync.WaitGroup
	clients := make([]*tcpClient, connections)
	errs := make(chan error, connections)
	until := time.Now().Add(d)
	for i := range clients {
		l, err := newLoad(loadName)
		if err != nil {
			return tally{}, err
		}
		clients[i] = &tcpClient{server: server, load: l}
		group.Go(func() { errs <- clients[i].run(until) })
	}
	group.Wait()
	var sum tally
	for _, c := range clients {
		if err := <-errs; err != nil {
			return tally{}, err
		}
		sum.Sent += c.Sent
		sum.Answered += c.Answered
		sum.Lost += c.Lost
		sum.Wrong += c.Wrong
		sum.Reconnects += c.Reconnects
		sum.latency.merge(&c.latency)
	}
	return sum, nil
}

// tcpClient keeps one connection, and makes a new one when the server closes it: some do after a number of queries.
type tcpClient struct {
	tally
	server string
	load   load
	conn   net.Conn
	buf    [2 + packetSize]byte
}

func (c *tcpClient) run(until time.Time) (err error) {
	if err := c.dial(); err != nil {
		return err
	}
	for time.Now().Before(until) {
		size, rcode := c.load.next(c.buf[2:])
		if !c.exchange(size, rcode) {
			c.Reconnects++
			c.conn.Close()
			if err := c.dial(); err != nil {
				return err
			}
		}
	}
	return c.conn.Close()
}

func (c *tcpClient) dial() (err error) {
	if c.conn, err = net.DialTimeout("tcp", c.server, 2*time.Second); err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	return nil
}

// exchange says whether the connection goes on. A query whose connection has been closed before it could be read was not
// lost: it is not counted, and there is another one.
func (c *tcpClient) exchange(size int, rcode byte) bool {
	begin := time.Now()
	if err := c.conn.SetDeadline(begin.Add(timeout)); err != nil {
		return false
	}
	binary.BigEndian.PutUint16(c.buf[:], uint16(size))
	binary.BigEndian.PutUint16(c.buf[2:], uint16(c.Sent))
	if _, err := c.conn.Write(c.buf[:2+size]); err != nil {
		return false
	}
	answer, err := c.read()
	if nerr, ok := err.(net.Error); ok && nerr.Timeout() {
		c.Sent++
		c.Lost++
	}
	if err != nil {
		return false
	}
	if !asExpected(answer, rcode) || binary.BigEndian.Uint16(answer) != uint16(c.Sent) {
		c.Wrong++
	}
	c.Sent++
	c.Answered++
	c.latency.add(time.Since(begin))
	return true
}

func (c *tcpClient) read() ([]byte, error) {
	if _, err := io.ReadFull(c.conn, c.buf[:2]); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint16(c.buf[:]))
	if size < 12 || size > packetSize {
		return nil, fmt.Errorf("an answer of %d bytes", size)
	}
	_, err := io.ReadFull(c.conn, c.buf[2:2+size])
	return c.buf[2 : 2+size], err
}
