// SPDX-License-Identifier: Apache-2.0

package top

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/nodelocaldns/nodelocaldns/internal/status"
)

// collect asks the processes of the node, of which there are two during an update, and returns the sum of their reports, and
// the addresses of the cache.
func collect(stateDir string) (b status.Busiest, own []netip.Addr, err error) {
	var all []status.Busiest
	paths, err := status.Sockets(stateDir)
	if err != nil {
		return b, nil, err
	}
	var faults error
	for _, path := range paths {
		switch r, err := status.Ask(path); {
		case err != nil:
			faults = errors.Join(faults, err)
		case r.Busiest != nil:
			all = append(all, *r.Busiest)
			own = append(own, addresses(r.Node)...)
		}
	}
	switch {
	case len(all) > 0: // of two processes one may be ending
		return sum(all), own, nil
	case faults != nil:
		return b, nil, faults
	case len(paths) > 0:
		return b, nil, errors.New("the process counts no clients: its Corefile has neither packetcache nor nodelocal")
	}
	return b, nil, fmt.Errorf("no process answers in %s: is the cache running, as root, and with this -statedir?", stateDir)
}

// addresses are those of the cache. Programs of the node itself ask from them.
func addresses(n *status.Node) (own []netip.Addr) {
	if n != nil {
		for _, a := range n.Addresses {
			own = append(own, a.Address)
		}
	}
	return own
}

// sum adds reports.
func sum(all []status.Busiest) (s status.Busiest) {
	clients, names := map[netip.Addr]int{}, map[string]int{}
	for _, b := range all {
		s.Seconds = max(s.Seconds, b.Seconds)
		s.Queries += b.Queries
		for _, c := range b.Clients {
			i, ok := clients[c.Address]
			if !ok {
				clients[c.Address] = len(s.Clients)
				s.Clients = append(s.Clients, c)
				continue
			}
			t := &s.Clients[i]
			if c.Queries > t.Queries {
				t.Name = c.Name
			}
			t.Queries, t.Misses, t.NXDomain = t.Queries+c.Queries, t.Misses+c.Misses, t.NXDomain+c.NXDomain
		}
		for _, n := range b.Names {
			if i, ok := names[n.Name]; ok {
				s.Names[i].Queries += n.Queries
				continue
			}
			names[n.Name] = len(s.Names)
			s.Names = append(s.Names, n)
		}
	}
	return s
}
