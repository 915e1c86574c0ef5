// SPDX-License-Identifier: Apache-2.0

package nodecheck

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// dnsPatience bounds one question to the cluster DNS.
const dnsPatience = 1500 * time.Millisecond

// apart is the time between the two questions of doubleTTL: in more than a second a TTL that counts has fallen.
const apart = 1100 * time.Millisecond

// service is a name that each cluster has.
func (e *Env) service() string { return dns.Fqdn("kubernetes.default.svc." + e.Domain) }

func (e *Env) at(server netip.Addr) string { return netip.AddrPortFrom(server, e.DNSPort).String() }

func (e *Env) ask(ctx context.Context, network string, server netip.Addr, name string) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsPatience)
	defer cancel()
	c := dns.Client{Net: network, Timeout: dnsPatience}
	m, _, err := c.ExchangeContext(ctx, new(dns.Msg).SetQuestion(name, e.qtype(server)), e.at(server))
	return m, err
}

// qtype is A, or AAAA for a cluster whose DNS has an IPv6 address: in a cluster with IPv6 alone no Service has an A.
func (e *Env) qtype(server netip.Addr) uint16 {
	if server.Is6() {
		return dns.TypeAAAA
	}
	return dns.TypeA
}

// clusterDNS asks each server of the cluster DNS over TCP, as the cache does.
func clusterDNS(ctx context.Context, e *Env) []Finding {
	if len(e.ClusterDNS) == 0 {
		return one(Advice, "the address of the cluster DNS is not known here, so nothing was asked there", "",
			"run the check in the pod of the cache, or name with -fallback a ClusterIP that is no address of the running cache")
	}
	return each(e.ClusterDNS, func(server netip.Addr) []Finding {
		_, err := e.ask(ctx, "tcp", server, e.service())
		if err == nil {
			return nil
		}
		const why = "the cache asks the cluster DNS over TCP: it gets no answer for a name that it does not know"
		if _, uerr := e.ask(ctx, "udp", server, e.service()); uerr == nil {
			return one(Error, fmt.Sprintf("the cluster DNS at %s answers over UDP, and not over TCP: %v", server, err), why,
				"let TCP port 53 through (NetworkPolicy, security group, firewall), and give the Service a port for TCP")
		}
		return one(Error, fmt.Sprintf("the cluster DNS at %s does not answer: %v", server, err), why,
			"look at its pods and at kube-proxy of this node (kubectl -n kube-system get pods,endpointslices), and at the firewall between them")
	})
}

// each runs look for all servers side by side.
func each(servers []netip.Addr, look func(netip.Addr) []Finding) (found []Finding) {
	results := make(chan []Finding)
	for _, s := range servers {
		go func() { results <- look(s) }()
	}
	for range servers {
		found = append(found, <-results...)
	}
	return found
}

// clusterDomain asks for a name that each cluster has.
func clusterDomain(ctx context.Context, e *Env) []Finding {
	return each(e.ClusterDNS, func(server netip.Addr) []Finding {
		m, err := e.ask(ctx, "tcp", server, e.service())
		if err != nil || m.Rcode == dns.RcodeSuccess {
			return nil // an error is clusterDNS's
		}
		return one(Error, fmt.Sprintf("the cluster DNS at %s answers %s for %s", server, dns.RcodeToString[m.Rcode], e.service()),
			"each cluster has this name, so the domain of the cluster is another one, or the cluster DNS has no access to the API server",
			"give the domain that is in the search list of a pod's resolv.conf (-clusterdomain)")
	})
}

// doubleTTL asks the same pod of the cluster DNS twice: if it caches the cluster's zone, the TTL has fallen.
func doubleTTL(ctx context.Context, e *Env) []Finding {
	return each(e.ClusterDNS, func(server netip.Addr) []Finding {
		c := dns.Client{Net: "tcp", Timeout: dnsPatience}
		conn, err := c.DialContext(ctx, e.at(server))
		if err != nil {
			return nil // clusterDNS's
		}
		defer conn.Close()
		first, ok := e.ttl(&c, conn, server)
		select {
		case <-time.After(apart):
		case <-ctx.Done():
			return nil
		}
		second, again := e.ttl(&c, conn, server)
		if !ok || !again || first == second {
			return nil
		}
		return one(Warning, fmt.Sprintf("the cluster DNS at %s caches the zone %s itself: a TTL of %d s was %d s a second later", server, e.Domain, first, second),
			"the address of a Service that has changed is known up to two TTLs later, not one: it is cached twice",
			fmt.Sprintf("in the Corefile of the cluster DNS: cache 30 { disable success %[1]s; disable denial %[1]s }", e.Domain))
	})
}

// ttl returns the TTL of a name of the cluster, asked on conn.
func (e *Env) ttl(c *dns.Client, conn *dns.Conn, server netip.Addr) (ttl uint32, ok bool) {
	m, _, err := c.ExchangeWithConn(new(dns.Msg).SetQuestion(e.service(), e.qtype(server)), conn)
	if err != nil || len(m.Answer) == 0 {
		return 0, false
	}
	return m.Answer[0].Header().Ttl, true
}
