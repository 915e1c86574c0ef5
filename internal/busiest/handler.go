// SPDX-License-Identifier: Apache-2.0

package busiest

import (
	"context"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/internal/shares"
)

// MarkKey is the context key of a *Mark.
type MarkKey struct{}

// A Mark is in the context of a query that goes to the plugins. The packet cache makes a Mark for each of its queries. Handle makes the
// Mark of any other query.
type Mark struct {
	Client  netip.Addr // as Query.Client
	Name    []byte     // as Query.Name
	counted bool       // by Handle, or it must not be
}

// Own returns the context of a query that the process sends to itself. Handle does not count the query.
func Own(ctx context.Context) context.Context {
	return context.WithValue(ctx, MarkKey{}, &Mark{counted: true})
}

// Handle counts, in the ServeDNS of a plugin, a query that goes to the plugins, unless another plugin did so. A question that a plugin
// asks the server with the context of a query is not counted. Handle returns the context and the writer for the next plugin. The maker of
// the Mark calls Answered.
func (c *Count) Handle(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (context.Context, dns.ResponseWriter) {
	if m, ok := ctx.Value(MarkKey{}).(*Mark); ok {
		if !m.counted {
			c.miss(m)
		}
		return ctx, w
	}
	m := &Mark{Client: shares.Client(shares.Address(w.RemoteAddr())), Name: NameOf(r)}
	c.miss(m)
	return context.WithValue(ctx, MarkKey{}, m), &writer{w, c, m}
}

func (c *Count) miss(m *Mark) {
	m.counted = true
	c.Begin(time.Now())
	defer c.End()
	c.Add(Query{Client: m.Client, Name: m.Name, Miss: true})
}

// Answered is told of the rcode of the answer to the query with a Mark.
func (c *Count) Answered(m *Mark, rcode int) {
	if !m.counted || rcode != dns.RcodeNameError {
		return
	}
	c.Begin(time.Now())
	defer c.End()
	c.AddNXDomain(m.Client)
}

// NameOf returns the name that r asks for, as Query.Name.
func NameOf(r *dns.Msg) []byte {
	if len(r.Question) == 0 {
		return nil
	}
	name := r.Question[0].Name
	return wireName(make([]byte, len(name)+2), name) // in wire format a name is an octet longer than in text at most
}

// wireName writes a name to buf, in wire format and lower case. It returns nil if name is none.
func wireName(buf []byte, name string) []byte {
	n, err := dns.PackDomainName(name, buf, 0, nil, false)
	if err != nil {
		return nil
	}
	for i, b := range buf[:n] { // the length of a label is at most 63, before any letter
		if 'A' <= b && b <= 'Z' {
			buf[i] = b + 'a' - 'A'
		}
	}
	return buf[:n]
}

// A writer sees whether the answer is NXDOMAIN.
type writer struct {
	dns.ResponseWriter
	count *Count
	mark  *Mark
}

// WriteMsg implements dns.ResponseWriter.
func (w *writer) WriteMsg(m *dns.Msg) error {
	w.count.Answered(w.mark, m.Rcode)
	return w.ResponseWriter.WriteMsg(m)
}

// Write implements dns.ResponseWriter.
func (w *writer) Write(data []byte) (int, error) {
	if len(data) > 3 {
		w.count.Answered(w.mark, int(data[3]&0x0f))
	}
	return w.ResponseWriter.Write(data)
}
