// SPDX-License-Identifier: Apache-2.0

// Package loopcheck finds out whether an upstream of the cache leads back to the cache.
package loopcheck

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/plugin"

	"github.com/miekg/dns"
)

const (
	// firstPause is the time after the first round of probes. Each further pause is twice the one before. lastPause is longer
	// than forward keeps a connection (10 s): probes over one that began before steering do not come back to the cache.
	firstPause, lastPause = time.Second, 16 * time.Second
	// probes is how many an address gets at once: where an upstream is asked over TCP, the second needs a new connection.
	probes = 2
	// maxSightings is how often one probe may come to the cache. More is a loop, as for CoreDNS's plugin loop.
	maxSightings = 2
)

// probeLabels is the second and third label of a probe's name. The first is random, so no cache on the way can answer.
const probeLabels = "loop.nodelocaldns."

// A Check finds out for one configuration whether an upstream leads back to this cache. CoreDNS's plugin loop asks before the
// addresses are steered, when the cluster DNS answers there, and sees no loop.
//
// A probe is a query that the cache sends to its own addresses, once, without a mark and without a wait for the answer. Its
// type is HINFO, which no plugin answers from what it knows of other names. A probe counts if its source is an address of the
// cache, which is the source that the kernel takes for the host's own queries to that address. Others, such as the server of a
// stub domain, see the name, too; with another source they cannot end the process.
type Check struct {
	zones []string // one of each server block with the directive loop
	addrs []netip.Addr
	port  uint16
	wake  func() // a loop was found
	quit  chan struct{}
	done  sync.WaitGroup
	once  sync.Once // begins it

	mu    sync.Mutex
	seen  map[string]int // times that a probe came, by its name
	found string         // the name of a probe that came too often; empty: none
}

// New returns the check for a cache that answers DNS at addrs and port. Zones has one zone of each server block to probe. Wake is
// called when a loop is found, at each further probe that comes back, too; it must not wait.
func New(zones []string, addrs []netip.Addr, port uint16, wake func()) *Check {
	return &Check{zones: zones, addrs: addrs, port: port, wake: wake, quit: make(chan struct{}), seen: map[string]int{}}
}

// Begin sends probes from now on, for half a minute.
func (l *Check) Begin() {
	l.once.Do(func() {
		l.done.Go(func() {
			for pause := firstPause; pause <= lastPause && l.round(pause); pause *= 2 {
			}
		})
	})
}

// Stop ends the probes. Stop may come before Begin, which then does nothing. Stop must not be called twice.
func (l *Check) Stop() {
	l.once.Do(func() {})
	close(l.quit)
	l.done.Wait()
}

// round sends probes, and reports whether the pause has passed with nothing else to do.
func (l *Check) round(pause time.Duration) bool {
	if conn, err := net.ListenUDP("udp", nil); err == nil { // the next round may have one
		defer conn.Close() // until then the answers have somewhere to go
		for _, a := range l.addrs {
			for _, zone := range l.zones {
				for range probes {
					l.send(conn, zone, netip.AddrPortFrom(a, l.port))
				}
			}
		}
	}
	select {
	case <-time.After(pause):
		return l.Found() == ""
	case <-l.quit:
		return false
	}
}

// send sends one probe. If that fails, the next round has others.
func (l *Check) send(conn *net.UDPConn, zone string, server netip.AddrPort) {
	name := strings.ToLower(rand.Text()) + "." + probeLabels + strings.TrimPrefix(zone, ".")
	octets, err := new(dns.Msg).SetQuestion(name, dns.TypeHINFO).Pack()
	if err != nil {
		return
	}
	l.mu.Lock()
	l.seen[name] = 0
	l.mu.Unlock()
	_, _ = conn.WriteToUDPAddrPort(octets, server)
}

// Note counts r if r is a probe of this Check, and reports whether it is one, and whether that probe has come too often. From is the
// address that r came from. A nil Check notes nothing.
func (l *Check) Note(from net.Addr, r *dns.Msg) (probe, tooOften bool) {
	if l == nil || len(r.Question) != 1 || r.Question[0].Qtype != dns.TypeHINFO {
		return false, false
	}
	name := strings.ToLower(r.Question[0].Name)
	l.mu.Lock()
	defer l.mu.Unlock()
	n, own := l.seen[name]
	client, err := netip.ParseAddrPort(from.String())
	if !own || err != nil || !slices.Contains(l.addrs, client.Addr().Unmap()) {
		return false, false
	}
	l.seen[name] = n + 1
	if n < maxSightings {
		return true, false
	}
	l.found = name
	l.wake()
	return true, true
}

// Found returns the text about the loop that was found; empty: none was.
func (l *Check) Found() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.found == "" {
		return ""
	}
	_, zone, _ := strings.Cut(l.found, "."+probeLabels)
	if zone == "" {
		zone = "."
	}
	return fmt.Sprintf("a loop: queries in zone %q come back to this cache (%s): an upstream of that server block is one of these addresses, or asks one of them; "+
		"in its forward or hedge line, or in the resolv.conf that the line names, write the cluster DNS's second Service, or nameservers outside the node",
		zone, strings.Trim(fmt.Sprint(l.addrs), "[]"))
}

// Zones returns the first zone of each server block with the directive loop.
func Zones(blocks []caddyfile.ServerBlock) []string {
	var out []string
	for _, b := range blocks {
		if _, ok := b.Tokens["loop"]; !ok || len(b.Keys) == 0 {
			continue
		}
		if zones := plugin.Host(b.Keys[0]).NormalizeExact(); len(zones) > 0 {
			out = append(out, zones[0])
		}
	}
	return out
}
