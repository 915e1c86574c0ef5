// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/upstream"
)

// TestNoAAAA runs the Corefile of the kustomize component no-aaaa. The cache denies each AAAA itself, also of names that have one,
// and answers all other types as usual.
func TestNoAAAA(t *testing.T) {
	t.Parallel()
	const inside, outside, missing = "web.default.svc.cluster.local.", "www.example.org.", "missing.default.svc.cluster.local."
	l := lab.New(t, lab.IPTablesNFT)
	c := start(t, l, options{firewall: lab.IPTablesNFT, base: corefileOf(t, "../manifests/components/no-aaaa/configmap.yaml")})
	for _, a := range ipv4 {
		for _, name := range []string{inside, outside, missing} {
			noSuchRecord(t, l, a, name)
		}
		for name, want := range map[string]string{inside: "10.96.7.7", outside: "198.51.100.7", missing: ""} {
			addressIs(t, l, a, name, want)
		}
		packetHitsOfAAAA(t, c, a, inside)
	}
	askedWithoutAAAA(t, l.ClusterDNS, inside)
	askedWithoutAAAA(t, l.External, outside)
}

// askedWithoutAAAA waits until the server's list of queries has the question for a name, which the cache has answered before, and
// wants no AAAA in the list.
func askedWithoutAAAA(t *testing.T, s *upstream.Server, name string) {
	t.Helper()
	harness.Until(t, 5*time.Second, "the upstream's list has "+name, func() error {
		if len(s.Seen(name)) == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	for _, q := range s.Seen("") {
		if q.Type == "AAAA" {
			t.Errorf("an upstream was asked for AAAA: %+v", q)
		}
	}
}

// corefileOf returns the Corefile in the file of a ConfigMap, where it is the last value.
func corefileOf(t *testing.T, path string) string {
	t.Helper()
	_, text, found := strings.Cut(readFile(t, path), "\n  Corefile: |\n")
	if !found {
		t.Fatalf("%s has no Corefile", path)
	}
	return strings.ReplaceAll("\n"+text, "\n    ", "\n")
}

// noSuchRecord asks for AAAA and wants no error, no answer, and the SOA by which clients keep that (RFC 2308, section 2.2).
func noSuchRecord(t *testing.T, l *lab.Lab, a netip.Addr, name string) {
	t.Helper()
	msg, err := client.Ask(l.Pod, client.Query{Server: client.Port53(a), Name: name, Type: dns.TypeAAAA})
	if err != nil {
		t.Fatalf("%s AAAA at %s: %v", name, a, err)
	}
	if len(msg.Ns) != 1 || msg.Ns[0].Header().Rrtype != dns.TypeSOA || msg.Rcode != dns.RcodeSuccess || len(msg.Answer) != 0 {
		t.Errorf("%s AAAA at %s: want NOERROR, no answer and an SOA, got\n%s", name, a, msg)
	}
}

// addressIs asks for A. No address: the name does not exist.
func addressIs(t *testing.T, l *lab.Lab, a netip.Addr, name, want string) {
	t.Helper()
	msg, err := client.Ask(l.Pod, client.Query{Server: client.Port53(a), Name: name, Type: dns.TypeA})
	if err != nil {
		t.Fatalf("%s A at %s: %v", name, a, err)
	}
	rcode := map[bool]int{true: dns.RcodeNameError, false: dns.RcodeSuccess}[want == ""]
	if addressIn(msg) != want || msg.Rcode != rcode {
		t.Errorf("%s A at %s: want %q, got\n%s", name, a, want, msg)
	}
}

// addressIn returns the address in the last A record of an answer, and "" if there is none.
func addressIn(msg *dns.Msg) (address string) {
	for _, rr := range msg.Answer {
		if a, ok := rr.(*dns.A); ok {
			address = a.A.String()
		}
	}
	return address
}

// packetHitsOfAAAA waits until questions for AAAA are answered by the packet cache.
func packetHitsOfAAAA(t *testing.T, c *cache, a netip.Addr, name string) {
	t.Helper()
	const queries = 10
	server := fmt.Sprintf("server=%q", "dns://"+client.Port53(a).String())
	harness.Until(t, 10*time.Second, fmt.Sprintf("hits of AAAA at %s", a), func() error {
		before := c.counter(t, "coredns_packetcache_hits_total", server)
		for range queries {
			noSuchRecord(t, c.lab, a, name)
		}
		if n := c.counter(t, "coredns_packetcache_hits_total", server) - before; n < queries-2 {
			return fmt.Errorf("%g of %d", n, queries)
		}
		return nil
	})
}
