// SPDX-License-Identifier: Apache-2.0

package infront

import (
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// The environment says how the tests run.
const (
	Directives = "CONFORMANCE_DIRECTIVES" // the list of plugins, in their order, with commas; empty: CoreDNS's own list
	Front      = "CONFORMANCE_FRONT"      // not empty: each Corefile gets the plugins of this repository
	Twice      = "CONFORMANCE_TWICE"      // not empty: each question of a test is asked twice, and the second answer counts
)

// Counted begins each line that Main prints: the name and the value of a counter.
const Counted = "counted: "

// counted are the counters that tell which plugin answered.
var counted = []string{
	"coredns_packetcache_hits_total", "coredns_keep_hits_total", "coredns_hedge_attempts_total", "coredns_searchpath_answers_total",
}

// Main runs the tests, by their function run, and prints the counters of the plugins.
func Main(run func() int) int {
	if list := os.Getenv(Directives); list != "" {
		dnsserver.Directives = strings.Split(list, ",")
	}
	code := run()
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		fmt.Println("gathering the counters:", err) // a test may have registered a metric that has no valid value
	}
	sums := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			sums[f.GetName()] += m.GetCounter().GetValue()
		}
	}
	for _, name := range counted {
		fmt.Printf("%s%s %g\n", Counted, name, sums[name])
	}
	return code
}

var (
	mu   sync.Mutex
	last int // the port of the Corefile before
)

// Fresh returns the Corefile for a new server.
func Fresh(text string) string { return changed(text, true) }

// Again returns the Corefile for a running server, which keeps its port.
func Again(text string) string { return changed(text, false) }

func changed(text string, fresh bool) string {
	if os.Getenv(Front) == "" {
		return text
	}
	mu.Lock()
	defer mu.Unlock()
	if last == 0 || fresh && !isFree(last) {
		last = freePort()
	}
	return Corefile(text, last)
}

// freePort returns a port of 127.0.0.1 that is free for UDP and TCP; 0 if it finds none.
func freePort() int {
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0
		}
		port := l.Addr().(*net.TCPAddr).Port
		if err := l.Close(); err == nil && isFree(port) {
			return port
		}
	}
	return 0
}

// isFree reports whether no socket has a port of 127.0.0.1. A server that follows another one gets the same port, as it does with
// port 0 in the metrics of CoreDNS.
func isFree(port int) bool {
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	udp, err := net.ListenPacket("udp", addr)
	if err != nil {
		return false
	}
	defer udp.Close()
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	defer tcp.Close()
	return true
}

// An Asker asks as dns.Client does. With Twice it asks twice, and returns the second answer.
type Asker struct{ client *dns.Client }

// Of returns the Asker for a dns.Client or a pointer to one.
func Of(c any) Asker {
	if p, ok := c.(*dns.Client); ok {
		return Asker{p}
	}
	plain, _ := c.(dns.Client)
	return Asker{&plain}
}

// Exchange is the method of dns.Client.
func (a Asker) Exchange(m *dns.Msg, address string) (r *dns.Msg, rtt time.Duration, err error) {
	if os.Getenv(Twice) != "" {
		if r, rtt, err = a.client.Exchange(m.Copy(), address); err != nil {
			return r, rtt, err
		}
	}
	return a.client.Exchange(m, address)
}

// Exchange is the function of package dns.
func Exchange(m *dns.Msg, address string) (*dns.Msg, error) {
	r, _, err := Of(&dns.Client{Net: "udp"}).Exchange(m, address)
	return r, err
}
