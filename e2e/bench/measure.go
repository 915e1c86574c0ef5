// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

const (
	warmUp      = 100 * time.Millisecond
	connections = 8 // of TCP; dnsmasq takes 20

	// missesInFlight are no more than the idle connections that the default template keeps to the cluster DNS. With more of
	// them the cost of new connections is measured.
	missesInFlight = 16
)

// measurement is one line of work with a running server.
type measurement struct {
	name, load string
	task       task
	sameCore   bool // client and server share the server's core
	paced      bool // takes four times the time, as there are few queries, and the server's core stays awake
}

// measurements are in the order in which a server gets them; the misses come last, as they fill the cache.
var measurements = []measurement{
	{name: "hits", load: "hits", task: task{InFlight: batchSize}},
	{name: "hits-same-core", load: "hits", task: task{InFlight: batchSize}, sameCore: true},
	{name: "hits-same-core-1", load: "hits", task: task{InFlight: 1}, sameCore: true},
	{name: "hits-1000", load: "hits", task: task{Rate: 1000, Spin: true}, paced: true},
	{name: "hits-5000", load: "hits", task: task{Rate: 5000, Spin: true}, paced: true},
	{name: dnsperf, load: dnsperf},
	{name: "tcp", load: "tcp", task: task{Load: "hits", InFlight: connections, TCP: true}},
	{name: "zipf", load: "zipf", task: task{InFlight: batchSize}},
	{name: "half", load: "half", task: task{InFlight: missesInFlight}},
	{name: "misses-1000", load: "misses", task: task{Rate: 1000}},
	{name: "misses", load: "misses", task: task{InFlight: missesInFlight}},
}

// Without the generator, and without a time.
const (
	dnsperf = "dnsperf"
	memory  = "memory"
)

func loadNames() (names []string) {
	for _, m := range measurements {
		if !slices.Contains(names, m.load) {
			names = append(names, m.load)
		}
	}
	return append(names, memory)
}

// applies says whether a server can do it: the bare loop has no TCP, and waits for each miss.
func (m measurement) applies(s server) bool {
	return !s.hitsOnly || m.load == "hits" || m.load == "zipf" || m.load == dnsperf
}

func (m measurement) run(c *contestant, d time.Duration) sample {
	if m.load == dnsperf {
		return c.dnsperf(d)
	}
	return c.measure(m, d)
}

// measure has the generator ask, from its own core or from the server's.
func (c *contestant) measure(m measurement, d time.Duration) sample {
	core := c.clientCore
	if m.sameCore {
		core = c.serverCore
	}
	must(c.Host, pin(c.pod, core))
	t := m.task
	if t.Load == "" {
		t.Load = m.load
	}
	t.Warm, t.Time = warmUp, d
	if m.paced {
		t.Time *= 4
		defer c.keepAwake()()
	}
	if m.load == "zipf" {
		c.generate(task{Load: "zipf-names", Count: len(zipfQueries()), InFlight: missesInFlight})
	}
	if !c.server.metrics {
		return c.generate(t)
	}
	zero := c.mallocs()
	before := c.mallocs()
	s := c.generate(t)
	own := before - zero // of the metrics page itself
	s.Allocations = math.Max(c.mallocs()-before-own, 0) / float64(s.Asked)
	return s
}

// keepAwake runs a program on the server's core that takes nothing from anybody else, until the function that it returns is
// called. A core that idles may sleep deeply, and a virtual one is given away: the less a server does, the more it would wait
// for its core, and the tail of its latency would be the hypervisor's.
func (c *contestant) keepAwake() (stop func()) {
	must(c.Host, pin(c.node, c.serverCore))
	p := process.Start(c.Host, c.node, process.Command{Path: self(c.Host), Args: []string{"awake"}})
	return func() {
		p.Signal(c.Host, syscall.SIGKILL)
		p.Wait(c.Host, time.Second)
	}
}

// awake is that program.
func awake([]string) error {
	runtime.LockOSThread()
	err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0)
	if err != nil {
		return fmt.Errorf("giving way to all others: %w", err)
	}
	for {
		runtime.Gosched()
	}
}

// mallocs is the number of allocations that the server has made so far.
func (c *contestant) mallocs() float64 {
	page, err := c.node.Get(metricsURL)
	must(c.Host, err)
	n, err := process.Metric(page, "go_memstats_mallocs_total")
	must(c.Host, err)
	return n
}

// generate runs a client in the pod.
func (c *contestant) generate(t task) (s sample) {
	t.ServerAddr, t.ServerPID = serverAddr.String(), c.process.Pid()
	out, err := c.pod.Output("", self(c.Host), t.args()...)
	if err != nil {
		c.Fatalf("%s: %v: %s", t.Load, err, strings.TrimSpace(out))
	}
	must(c.Host, json.Unmarshal([]byte(out), &s))
	return s
}

// memory fills the cache of a new process; the resident memory is read when the last answer has come.
func (c *contestant) memory() sample {
	s := sample{RSS: map[string]float64{"0": mb(c.process.RSS(c.Host))}}
	names := 0
	for _, upTo := range []int{10_000, 100_000} {
		s.Lost += c.generate(task{Load: fmt.Sprint("names:", names), Count: upTo - names, InFlight: missesInFlight}).Lost
		names = upTo
		s.RSS[strconv.Itoa(upTo)] = mb(c.process.RSS(c.Host))
	}
	return s
}

func mb(bytes int64) float64 { return float64(bytes) / (1 << 20) }

var dnsperfRate = regexp.MustCompile(`Queries per second:\s*([0-9.]+)`)

// dnsperf has the last word on the hits: it is what others use.
func (c *contestant) dnsperf(d time.Duration) (s sample) {
	names := ""
	for i := range hitNames {
		names += serviceName(i) + " A\n"
	}
	seconds := strconv.Itoa(max(int(d.Seconds()), 1))
	must(c.Host, pin(c.pod, c.clientCore))
	out, err := c.pod.Output("", harness.Which(c.Host, dnsperf), "-d", harness.WriteFile(c.Host, "names", names),
		"-s", serverAddr.Addr().String(), "-l", seconds, "-c", "1", "-T", "1", "-q", strconv.Itoa(batchSize))
	match := dnsperfRate.FindStringSubmatch(out)
	if err != nil || match == nil {
		c.Fatalf("dnsperf: %v: %s", err, out)
	}
	s.Rate, err = strconv.ParseFloat(match[1], 64)
	must(c.Host, err)
	return s
}
