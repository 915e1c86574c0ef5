// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

// Fault is what a Bad server does with each query.
type Fault string

// The faults of a server.
const (
	Silent        Fault = "silent"         // sends nothing
	Garbage       Fault = "garbage"        // sends 64 octets of 0xff
	GarbageBody   Fault = "garbage body"   // sends a correct header, and 0xff after it
	WrongID       Fault = "wrong ID"       // sends a correct answer whose ID is one too high
	WrongQuestion Fault = "wrong question" // sends a correct answer to another question
	Echo          Fault = "echo"           // sends the query back
	Slowed        Fault = "slow"           // sends a correct answer after 2 s
	Resets        Fault = "resets"         // resets the connection
	Closes        Fault = "closes"         // closes the connection
	Drips         Fault = "drips"          // sends an octet every 500 ms
	Oversized     Fault = "oversized"      // sends an answer with zeros after it, 65,535 octets in all
	Short         Fault = "short"          // announces twice as many octets as it sends
	Truncated     Fault = "truncated"      // sends the first half of a correct answer, and announces its length
	Loop          Fault = "loop"           // sends a name that is a compression pointer to itself
	Refusing      Fault = "refusing"       // sends REFUSED
)

// Faults lists all faults.
var Faults = []Fault{
	Silent, Garbage, GarbageBody, WrongID, WrongQuestion, Echo, Slowed, Resets, Closes, Drips, Oversized, Short, Truncated, Loop, Refusing,
}

// Bad is a DNS server over TCP that has a fault.
type Bad struct {
	fault    Fault
	listener net.Listener
	mu       sync.Mutex
	conns    map[net.Conn]bool
	serving  sync.WaitGroup
}

// StartBad starts a bad server at an address of the namespace. The server ends with the test, if it is not stopped before.
func StartBad(t testing.TB, n *netns.Namespace, ip netip.Addr, fault Fault) *Bad {
	t.Helper()
	b := &Bad{fault: fault, listener: listen(t, n, ip), conns: map[net.Conn]bool{}}
	b.serving.Go(b.accept)
	t.Cleanup(b.Stop)
	return b
}

// Stop ends the server and its connections.
func (b *Bad) Stop() {
	b.listener.Close()
	b.mu.Lock()
	for conn := range b.conns {
		conn.Close()
	}
	b.mu.Unlock()
	b.serving.Wait()
}

func (b *Bad) accept() {
	for {
		conn, err := b.listener.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		b.conns[conn] = true
		b.mu.Unlock()
		b.serving.Go(func() {
			b.serve(conn)
			conn.Close()
			b.mu.Lock()
			delete(b.conns, conn)
			b.mu.Unlock()
		})
	}
}

// serve reads queries until the fault or the client ends the connection.
func (b *Bad) serve(conn net.Conn) {
	for {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		message, query := make([]byte, binary.BigEndian.Uint16(size[:])), new(dns.Msg)
		if _, err := io.ReadFull(conn, message); err != nil || query.Unpack(message) != nil || len(query.Question) != 1 {
			return
		}
		switch b.fault {
		case Silent:
			continue
		case Closes:
			return
		case Resets:
			_ = conn.(*net.TCPConn).SetLinger(0)
			return
		case Slowed:
			time.Sleep(2 * time.Second)
		}
		if err := b.answer(conn, query, message); err != nil {
			return
		}
	}
}

func (b *Bad) answer(conn net.Conn, query *dns.Msg, asked []byte) error {
	message := b.message(query, asked)
	length := len(message)
	switch b.fault {
	case Oversized:
		length, message = 65535, append(message, make([]byte, 65535-length)...)
	case Short:
		length *= 2
	}
	message = append(binary.BigEndian.AppendUint16(nil, uint16(length)), message...)
	if b.fault != Drips {
		_, err := conn.Write(message)
		return err
	}
	for _, octet := range message {
		if _, err := conn.Write([]byte{octet}); err != nil {
			return err
		}
		time.Sleep(500 * time.Millisecond)
	}
	return nil
}

// message returns the answer, changed as the fault says.
func (b *Bad) message(query *dns.Msg, asked []byte) []byte {
	m := new(dns.Msg).SetReply(query)
	m.Authoritative = true
	q := query.Question[0]
	m.Answer = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 1 << 31}, Txt: []string{"bad"}}}
	switch b.fault {
	case WrongID:
		m.Id++
	case WrongQuestion:
		m.Question[0].Name = "other.cluster.local."
	case Refusing:
		m.Rcode, m.Answer = dns.RcodeRefused, nil
	case Echo:
		return asked
	}
	wire, err := m.Pack()
	if err != nil {
		return asked
	}
	const header = 12
	switch b.fault {
	case Garbage:
		wire = fill(make([]byte, 64))
	case GarbageBody:
		fill(wire[header:])
	case Truncated:
		wire = wire[:len(wire)/2]
	case Loop:
		wire = append(wire[:header], 0xc0, header, 0, 1, 0, 1)
	}
	return wire
}

func fill(b []byte) []byte {
	for i := range b {
		b[i] = 0xff
	}
	return b
}
