// SPDX-License-Identifier: Apache-2.0

package client

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

// Socket says how a probe uses its sockets.
type Socket string

// The kinds of sockets.
const (
	Fresh       Socket = "fresh"       // one for each query, as stub resolvers do
	Long        Socket = "long"        // one connected socket for all queries; a TCP connection that has ended is replaced
	Unconnected Socket = "unconnected" // one UDP socket for all queries, not connected; answers of others than the target are ignored
)

// Probe sends queries at a steady rate, without waiting for the answers to earlier ones, and counts those that fail. It never
// repeats a query.
type Probe struct {
	From      *netns.Namespace
	Target    netip.Addr
	TCP       bool
	Socket    Socket
	LocalPort uint16                        // of a Long socket; 0: any. Probes can share it. Each later TCP connection takes the next one
	Interval  time.Duration                 // 0: 50 ms
	Timeout   time.Duration                 // 0: 2 s
	Name      func(i int) string            // nil: unique names that exist
	Type      uint16                        // 0: A
	Check     func(*dns.Msg) error          // nil: the answer has data
	Stub      *dns.ClientConfig             // if set: look names up as a C library does, instead of asking Target
	Also      func(i int, answer time.Time) // called with the number of each query that is answered, if set
}

// Load is a running probe.
type Load struct {
	Probe
	stop, done chan struct{}
	flights    sync.WaitGroup
	channel    *channel
	mu         sync.Mutex
	report     Report
	last       time.Time // of the last answer
}

// String names the probe, such as "pod udp fresh 10.96.0.10", with its local port if that is fixed.
func (p Probe) String() string {
	if p.Stub != nil {
		return fmt.Sprintf("%s getaddrinfo %v", p.From.Name, p.Stub.Servers)
	}
	q := Query{TCP: p.TCP}
	name := fmt.Sprintf("%s %s %s %s", p.From.Name, q.network(), p.Socket, p.Target)
	if p.LocalPort != 0 {
		name += fmt.Sprintf(" from port %d", p.LocalPort)
	}
	return name
}

// Unique makes another name for each query. All of these names exist.
func Unique(tag string) func(int) string {
	return func(i int) string { return fmt.Sprintf("u%d.%s.wild.cluster.local.", i, tag) }
}

// Always is the same name for all queries.
func Always(name string) func(int) string { return func(int) string { return name } }

// Start begins to ask. The probe ends with the test, if it is not stopped before.
func (p Probe) Start(t testing.TB) *Load {
	t.Helper()
	if p.Socket == "" {
		p.Socket = Fresh
	}
	if p.Interval == 0 {
		p.Interval = 50 * time.Millisecond
	}
	if p.Timeout == 0 {
		p.Timeout = 2 * time.Second
	}
	if p.Name == nil {
		p.Name = Unique("probe")
	}
	if p.Type == 0 {
		p.Type = dns.TypeA
	}
	if p.Check == nil {
		p.Check = resolved
	}
	l := &Load{Probe: p, stop: make(chan struct{}), done: make(chan struct{}), last: time.Now()}
	l.report.Probe = p.String()
	l.channel = newChannel(p)
	go l.run()
	t.Cleanup(func() { l.end() })
	return l
}

// StartAll starts several probes.
func StartAll(t testing.TB, probes ...Probe) []*Load {
	t.Helper()
	var loads []*Load
	for _, p := range probes {
		loads = append(loads, p.Start(t))
	}
	return loads
}

// run sends each query when it is due. If the machine is too busy for that, it sends fewer queries, not the same number at
// shorter intervals.
func (l *Load) run() {
	defer close(l.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	due := time.Now()
	for i := 0; ; i++ {
		select {
		case <-l.stop:
			return
		case <-timer.C:
		}
		l.flights.Add(1)
		go l.fly(i)
		if late := time.Since(due); late > max(l.Interval/4, 5*time.Millisecond) {
			l.stalled(late)
			due = time.Now()
		}
		due = due.Add(l.Interval)
		timer.Reset(time.Until(due))
	}
}

func (l *Load) stalled(late time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.report.Stall = max(l.report.Stall, late)
}

// fly sends one query and counts what becomes of it.
func (l *Load) fly(i int) {
	defer l.flights.Done()
	name, sent := l.Name(i), time.Now()
	err := l.try(i, name)
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.report.Sent++
	l.report.Slowest = max(l.report.Slowest, now.Sub(sent))
	l.report.Took = append(l.report.Took, now.Sub(sent))
	if err != nil {
		l.report.Failures = append(l.report.Failures, Failure{At: sent, Name: name, Err: err})
		return
	}
	l.report.Gap = max(l.report.Gap, now.Sub(l.last))
	l.report.Latest = max(l.report.Latest, now.Sub(sent))
	l.last = now
	if l.Also != nil {
		l.Also(i, now)
	}
}

func (l *Load) try(i int, name string) error {
	if l.Stub != nil {
		_, err := Lookup(l.From, l.Stub, name)
		return err
	}
	answer, err := l.ask(i, name)
	if err != nil {
		return err
	}
	return l.Check(answer)
}

func (l *Load) ask(i int, name string) (*dns.Msg, error) {
	q := Query{
		Server: Port53(l.Target), TCP: l.TCP, Name: name, Type: l.Type, Timeout: l.Timeout,
	}
	if l.Socket == Fresh {
		return Ask(l.From, q)
	}
	msg := q.message()
	msg.Id = uint16(i) // unique among those in flight
	return l.channel.ask(msg)
}

// Stop ends the probe, waits for the queries in flight and reports.
func (l *Load) Stop() Report { return StopAll([]*Load{l})[0] }

// StopAll ends several probes at the same time.
func StopAll(loads []*Load) []Report {
	for _, l := range loads {
		l.cease()
	}
	var reports []Report
	for _, l := range loads {
		l.end()
		reports = append(reports, l.SoFar())
	}
	return reports
}

// SoFar reports on the queries that have ended.
func (l *Load) SoFar() Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.report
	r.Failures = append([]Failure(nil), r.Failures...)
	return r
}

// cease ends the sending. The time since the last answer counts as a gap.
func (l *Load) cease() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.stop:
	default:
		close(l.stop)
		l.report.Gap = max(l.report.Gap, time.Since(l.last))
	}
}

func (l *Load) end() {
	l.cease()
	<-l.done
	l.flights.Wait()
	l.channel.close()
}
