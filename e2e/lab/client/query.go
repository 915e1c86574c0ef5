// SPDX-License-Identifier: Apache-2.0

// Package client asks DNS servers from network namespaces: single queries, names as a C library looks them up, probes at a
// steady rate, and the floods and crowds of pods that misbehave.
package client

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

// Query is one question to one server.
type Query struct {
	Server  netip.AddrPort
	TCP     bool
	Name    string
	Type    uint16
	Size    uint16        // UDP size to advertise by EDNS; 0: no EDNS
	NSID    bool          // ask for the name of the server (RFC 5001)
	Timeout time.Duration // 0: 2 s
}

// Ask sends the query once, from a fresh socket of the namespace, and returns the answer that has its ID and question.
func Ask(n *netns.Namespace, q Query) (*dns.Msg, error) {
	if q.Timeout == 0 {
		q.Timeout = 2 * time.Second
	}
	deadline := time.Now().Add(q.Timeout)
	conn, err := n.Dial(q.network(), q.Server, q.Timeout)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	msg := q.message()
	c := &dns.Conn{Conn: conn, UDPSize: dns.MaxMsgSize}
	if err := c.WriteMsg(msg); err != nil {
		return nil, err
	}
	for {
		answer, err := c.ReadMsg()
		if err != nil {
			return nil, err
		}
		if answers(answer, msg) {
			return answer, nil
		}
	}
}

// Port53 is port 53 of the address.
func Port53(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, 53) }

func (q Query) network() string {
	if q.TCP {
		return "tcp"
	}
	return "udp"
}

func (q Query) message() *dns.Msg {
	msg := new(dns.Msg)
	msg.SetQuestion(q.Name, q.Type)
	if q.Size > 0 {
		msg.SetEdns0(q.Size, false)
	}
	if q.NSID {
		msg.SetEdns0(dns.DefaultMsgSize, false)
		msg.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_NSID{Code: dns.EDNS0NSID}}
	}
	return msg
}

// NSID returns the name that the server of an answer gives itself; empty: it gives none.
func NSID(m *dns.Msg) string {
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if id, ok := o.(*dns.EDNS0_NSID); ok {
				name, _ := hex.DecodeString(id.Nsid) // as package dns has written it
				return string(name)
			}
		}
	}
	return ""
}

// answers says whether answer has the ID, the type and the name of question.
func answers(answer, question *dns.Msg) bool {
	if !answer.Response || answer.Id != question.Id || len(answer.Question) != 1 {
		return false
	}
	a, q := answer.Question[0], question.Question[0]
	return a.Qtype == q.Qtype && strings.EqualFold(a.Name, q.Name)
}

// resolved is the check of a probe that asks for names that exist.
func resolved(m *dns.Msg) error {
	if m.Rcode != dns.RcodeSuccess {
		return fmt.Errorf("answered %s", dns.RcodeToString[m.Rcode])
	}
	if len(m.Answer) == 0 {
		return errors.New("answered without data")
	}
	return nil
}
