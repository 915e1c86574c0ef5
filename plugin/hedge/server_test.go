// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"
)

// A manner is what a server does with a connection: answer is called for each question, with the number of the
// connection from 0 on. It returns what is sent, nil for nothing; ok false closes the connection.
type manner func(connection int, q *dns.Msg) (answer []*dns.Msg, ok bool)

// A server is an upstream with a manner.
type server struct {
	addr        string
	connections atomic.Int64
	questions   atomic.Int64
	open        atomic.Int64 // connections
	wg          sync.WaitGroup
}

func serve(t *testing.T, m manner) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{addr: l.Addr().String()}
	done := make(chan struct{})
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.wg.Add(1)
			s.open.Add(1)
			go s.connection(c, int(s.connections.Add(1))-1, m, done)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		close(done)
		s.wg.Wait()
	})
	return s
}

func (s *server) connection(c net.Conn, number int, m manner, done chan struct{}) {
	defer s.wg.Done()
	defer s.open.Add(-1)
	defer c.Close()
	go func() { // a client that goes on waiting is not waited for
		<-done
		c.Close()
	}()
	for {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		data := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, data); err != nil {
			return
		}
		q := new(dns.Msg)
		if q.Unpack(data) != nil {
			return
		}
		s.questions.Add(1)
		answers, ok := m(number, q)
		if !ok {
			return
		}
		for _, a := range answers {
			wire, err := pack(a, a.Id)
			if err != nil {
				return
			}
			if _, err := c.Write(wire); err != nil {
				return
			}
		}
	}
}

// reply is the usual answer.
func reply(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.Answer = []dns.RR{test.A(q.Question[0].Name + " 30 IN A 192.0.2.1")}
	return m
}

func answersAll(_ int, q *dns.Msg) ([]*dns.Msg, bool) { return []*dns.Msg{reply(q)}, true }

func silentAlways(int, *dns.Msg) ([]*dns.Msg, bool) { return nil, true }

// hedge makes a handler; its upstreams end with the test.
func hedge(t *testing.T, change func(*options), to ...string) *Hedge {
	t.Helper()
	o := options{From: ".", To: to, After: 20 * time.Millisecond, Timeout: time.Second, MaxAge: 30 * time.Second, MaxConcurrent: defaultConcurrent}
	if change != nil {
		change(&o)
	}
	h := &Hedge{options: o, budgets: newBudgets(), Next: test.NextHandler(dns.RcodeNotImplemented, nil)}
	for _, a := range to {
		h.upstreams = append(h.upstreams, newUpstream(a, o.From, o.MaxAge))
		_ = h.upstreams[len(h.upstreams)-1].start()
	}
	t.Cleanup(func() { h.close() })
	return h
}

// ask asks for a name, and returns what ServeDNS does.
func ask(h *Hedge, name string) (*dns.Msg, int, error) {
	q := new(dns.Msg).SetQuestion(name, dns.TypeA)
	w := &recorder{}
	rcode, err := h.ServeDNS(context.Background(), w, q)
	if w.msg != nil && w.msg.Id != q.Id {
		panic("the answer has another ID than the question")
	}
	return w.msg, rcode, err
}

type recorder struct {
	test.ResponseWriter
	msg *dns.Msg
}

func (r *recorder) WriteMsg(m *dns.Msg) error { r.msg = m; return nil }

// until waits for a condition.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for begin := time.Now(); !f(); time.Sleep(time.Millisecond) {
		if time.Since(begin) > 10*time.Second {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}
