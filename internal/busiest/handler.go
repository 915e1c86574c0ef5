// SPDX-License-Identifier: Apache-2.0

package busiest

import (
	"context"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/internal/shares"
)

// countedKey is the context key of a query that is counted, or must not be.
type countedKey struct{}

// Own returns the context of a query that the process sends to itself. Handle does not count the query.
func Own(ctx context.Context) context.Context { return context.WithValue(ctx, countedKey{}, true) }

// Handle counts, in the ServeDNS of a plugin, a query that goes to the plugins, unless another plugin did so. A question that a plugin
// asks the server with the context of a query is not counted. Handle returns what the plugin gives to the next one.
func (c *Count) Handle(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (context.Context, dns.ResponseWriter) {
	if ctx.Value(countedKey{}) != nil {
		return ctx, w
	}
	client := shares.Client(shares.Address(w.RemoteAddr()))
	c.Miss(client, NameOf(r))
	return Own(ctx), &writer{w, c, client}
}

// Miss counts a query that goes to the plugins; NXDomain is called when it is answered so. name is as Query.Name.
func (c *Count) Miss(client netip.Addr, name []byte) {
	c.Begin(time.Now())
	defer c.End()
	c.Add(Query{Client: client, Name: name, Miss: true})
}

// NXDomain counts that a query which Miss has counted was answered with NXDOMAIN.
func (c *Count) NXDomain(client netip.Addr) {
	c.Begin(time.Now())
	defer c.End()
	c.AddNXDomain(client)
}

// NameOf returns the name that r asks for, as Query.Name.
func NameOf(r *dns.Msg) []byte {
	if len(r.Question) == 0 {
		return nil
	}
	return wireName(make([]byte, 256), r.Question[0].Name)
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
	count  *Count
	client netip.Addr
}

// WriteMsg implements dns.ResponseWriter.
func (w *writer) WriteMsg(m *dns.Msg) error {
	w.saw(m.Rcode)
	return w.ResponseWriter.WriteMsg(m)
}

// Write implements dns.ResponseWriter.
func (w *writer) Write(data []byte) (int, error) {
	if len(data) > 3 {
		w.saw(int(data[3] & 0x0f))
	}
	return w.ResponseWriter.Write(data)
}

func (w *writer) saw(rcode int) {
	if rcode == dns.RcodeNameError {
		w.count.NXDomain(w.client)
	}
}
