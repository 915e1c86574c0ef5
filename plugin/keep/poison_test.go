// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/cache"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/plugin/keep/internal/store"
)

// gone is the writer of a client that has closed its connection.
type gone struct{ someone }

func (*gone) WriteMsg(*dns.Msg) error { return errors.New("broken pipe") }

// underCache returns a handler below the plugin cache. After an error cache stores SERVFAIL for 5 s.
func underCache(t *testing.T, next plugin.HandlerFunc) (*cache.Cache, *Keep) {
	k := newKeep(t, "", next)
	k.rules.cached = true
	c := cache.New()
	c.Next = k
	return c, k
}

// TestAClientThatIsGoneFailsNobodyElse asks for a name that keep knows and cache does not.
func TestAClientThatIsGoneFailsNobodyElse(t *testing.T) {
	c, k := underCache(t, nil)
	r := new(dns.Msg).SetQuestion("a.test.", dns.TypeA)
	a := &asked{k: k, request: r}
	withAD := r.Copy()
	withAD.AuthenticatedData = true // as cache asks
	a.key.Set(&k.block, withAD)
	a.put(store.Positive, 3e10, packed(address("192.0.2.1", 30)(r)))
	for i, w := range []dns.ResponseWriter{new(gone), new(someone)} {
		if code, err := c.ServeDNS(t.Context(), w, r); code != dns.RcodeSuccess || err != nil {
			t.Errorf("client %d: %d, %v", i, code, err)
		}
		if w, ok := w.(*someone); ok && short(w.got) != "192.0.2.1 29" {
			t.Error(short(w.got))
		}
	}
}

// TestImpatienceIsNotKept has an upstream that answers after 10 s.
func TestImpatienceIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		c, _ := underCache(t, func(_ context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
			<-hold
			return 0, w.WriteMsg(rcode(dns.RcodeRefused, 0)(r)) // which cache does not keep
		})
		r := new(dns.Msg).SetQuestion("a.test.", dns.TypeA)
		go func() { _, _ = c.ServeDNS(t.Context(), new(someone), r) }()
		synctest.Wait()
		before := impatient()
		if code, err := c.ServeDNS(t.Context(), new(someone), r); code != dns.RcodeServerFailure || err != nil {
			t.Errorf("%d, %v", code, err)
		}
		if n := impatient() - before; n != 1 {
			t.Errorf("counted %d times", n)
		}
		close(hold)
		synctest.Wait()
		w := new(someone)
		if _, _ = c.ServeDNS(t.Context(), w, r); short(w.got) != "REFUSED" {
			t.Error(short(w.got))
		}
	})
}

func impatient() int { return counted(impatientTotal) }
