// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"net"
	"sync"
	"time"
)

// pipeLen is how many packets wait for the stock server at most.
const pipeLen = 1024

// A pipe is the connection of a stock server that gets the packets of unusual
// form, so that what becomes of them is its business, to the letter.
type pipe struct {
	server  *server
	packets chan packet
	reading chan struct{} // closed when the server reads
	closed  chan struct{}
	ended   chan struct{} // closed when the server has ended
	once    [2]sync.Once
}

type packet struct {
	data   []byte
	remote *net.UDPAddr
}

func newPipe(s *server) *pipe {
	return &pipe{server: s, packets: make(chan packet, pipeLen), reading: make(chan struct{}), closed: make(chan struct{}),
		ended: make(chan struct{})}
}

// put hands a packet over, and returns false if too many are waiting.
func (p *pipe) put(data []byte, remote *net.UDPAddr) bool {
	select {
	case p.packets <- packet{data, remote}:
		return true
	default:
		return false
	}
}

// ReadFrom implements net.PacketConn.
func (p *pipe) ReadFrom(b []byte) (int, net.Addr, error) {
	p.once[0].Do(func() { close(p.reading) })
	select {
	case pkt := <-p.packets:
		return copy(b, pkt.data), pkt.remote, nil
	case <-p.closed:
	}
	select { // what was put before the end is served
	case pkt := <-p.packets:
		return copy(b, pkt.data), pkt.remote, nil
	default:
		return 0, nil, net.ErrClosed
	}
}

// WriteTo implements net.PacketConn.
func (p *pipe) WriteTo(b []byte, addr net.Addr) (int, error) {
	remote, ok := addr.(*net.UDPAddr)
	if !ok {
		return 0, net.InvalidAddrError("not an address of UDP")
	}
	return len(b), p.server.listener.send(b, remote)
}

// Close implements net.PacketConn.
func (p *pipe) Close() error {
	p.once[1].Do(func() { close(p.closed) })
	return nil
}

// LocalAddr implements net.PacketConn.
func (p *pipe) LocalAddr() net.Addr { return p.server.listener.local }

// SetDeadline implements net.PacketConn.
func (p *pipe) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.PacketConn. A read ends with Close.
func (p *pipe) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.PacketConn. A write does not wait.
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }
