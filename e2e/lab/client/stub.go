// SPDX-License-Identifier: Apache-2.0

package client

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

// Lookup resolves a name to addresses from the namespace, as glibc's getaddrinfo does: it applies the search list by ndots,
// asks for A and AAAA at the same time, and asks each server Attempts times, each time until Timeout or an error such as
// SERVFAIL. Other than getaddrinfo it fails unless both families are answered.
func Lookup(n *netns.Namespace, c *dns.ClientConfig, name string) (addrs []string, err error) {
	for _, candidate := range c.NameList(name) {
		addrs, err = lookup(n, c, candidate)
		if err != nil || len(addrs) > 0 {
			return addrs, err
		}
	}
	return nil, fmt.Errorf("%s: no such name", name)
}

func lookup(n *netns.Namespace, c *dns.ClientConfig, name string) ([]string, error) {
	type result struct {
		addrs []string
		err   error
	}
	results := make(chan result, 2)
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		go func() {
			msg, err := insist(n, c, Query{Name: name, Type: qtype})
			results <- result{addresses(msg), err}
		}()
	}
	first, second := <-results, <-results
	return append(first.addrs, second.addrs...), errors.Join(first.err, second.err)
}

// insist asks until a server says that the name exists, or that it does not. After a truncated answer it asks again over TCP.
func insist(n *netns.Namespace, c *dns.ClientConfig, q Query) (msg *dns.Msg, err error) {
	q.Timeout = time.Duration(c.Timeout) * time.Second
	for range c.Attempts {
		for _, server := range c.Servers {
			q.Server = netip.AddrPortFrom(netip.MustParseAddr(server), 53)
			q.TCP = false
			if msg, err = Ask(n, q); err == nil && msg.Truncated {
				q.TCP = true
				msg, err = Ask(n, q)
			}
			if err == nil && (msg.Rcode == dns.RcodeSuccess || msg.Rcode == dns.RcodeNameError) {
				return msg, nil
			}
			if err == nil {
				err = fmt.Errorf("answered %s", dns.RcodeToString[msg.Rcode])
			}
		}
	}
	return nil, err
}

func addresses(msg *dns.Msg) (addrs []string) {
	if msg == nil {
		return nil
	}
	for _, rr := range msg.Answer {
		switch r := rr.(type) {
		case *dns.A:
			addrs = append(addrs, r.A.String())
		case *dns.AAAA:
			addrs = append(addrs, r.AAAA.String())
		}
	}
	return addrs
}
