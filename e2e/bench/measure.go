// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/e2e/bench/loads"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/dnsperf"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

const (
	warmUp      = 100 * time.Millisecond
	connections = 8 // of TCP; dnsmasq accepts 20

	// missesInFlight is the number of idle connections to the cluster DNS that the default template keeps. With more queries in
	// flight, the cost of new connections would be measured.
	missesInFlight = 16
)

// contestant is a server that runs, in a network of its own.
type contestant struct {
	*harness.Host
	*network
	server  server
	process *process.Process
}

func (c *contestant) start() {
	c.network = newNetwork(c.Host, c.server.ownAddress)
	c.process = c.server.start(c.Host, c.node, c.pod)
}

// measurement is one line of work with a running server.
type measurement struct {
	name, load string
	task       task     // of the generator
	dnsperf    []string // options, if dnsperf is the client
	sameCore   bool     // client and server share the server's core
	paced      bool     // few queries: the measurement takes four times as long, and the server's core stays awake
}

// measurements are in the order in which a server gets them. The misses come last, as they fill the cache.
var measurements = []measurement{
	{name: "hits", load: "hits", task: task{InFlight: batchSize}},
	{name: "hits-same-core", load: "hits", task: task{InFlight: batchSize}, sameCore: true},
	{name: "hits-same-core-1", load: "hits", task: task{InFlight: 1}, sameCore: true},
	{name: "hits-1000", load: "hits", task: task{Rate: 1000, Spin: true}, paced: true},
	{name: "hits-5000", load: "hits", task: task{Rate: 5000, Spin: true}, paced: true},
	{name: byDNSPerf, load: byDNSPerf, dnsperf: []string{"-c", "1", "-q", strconv.Itoa(batchSize)}},
	{name: "tcp", load: "tcp", dnsperf: []string{"-m", "tcp", "-c", strconv.Itoa(connections), "-q", strconv.Itoa(connections)}},
	{name: "zipf", load: "zipf", task: task{InFlight: batchSize}},
	{name: "half", load: "half", task: task{InFlight: missesInFlight}},
	{name: "misses-1000", load: "misses", task: task{Rate: 1000}},
	{name: "misses", load: "misses", task: task{InFlight: missesInFlight}},
}

// The names of two loads.
const (
	byDNSPerf = "dnsperf"
	memory    = "memory"
)

func loadNames() (names []string) {
	for _, m := range measurements {
		if !slices.Contains(names, m.load) {
			names = append(names, m.load)
		}
	}
	return append(names, memory)
}

// applies reports whether the server can do the measurement. The bare loop has no TCP, and its misses ask no upstream server. A query
// that is sent back is no answer.
func (m measurement) applies(s server) bool {
	return len(s.loads) == 0 || slices.Contains(s.loads, m.load)
}

// run has the client ask, from its own core or from the server's.
func (m measurement) run(c *contestant, d time.Duration) sample {
	core := c.clientCore
	if m.sameCore {
		core = c.serverCore
	}
	c.pod.Pin(c.Host, core)
	if m.paced {
		d *= 4
		defer c.keepAwake()()
	}
	if m.load == "zipf" {
		c.dnsperf(loads.ZipfQueries(), "-n", "1", "-q", strconv.Itoa(missesInFlight))
	}
	ask := func() sample {
		if m.dnsperf != nil {
			return c.dnsperf(loads.Hits(), append(m.dnsperf, "-l", seconds(d))...)
		}
		t := m.task
		t.Load, t.Warm, t.Time = m.load, warmUp, d
		return c.generate(t)
	}
	if !c.server.metrics {
		return ask()
	}
	zero := c.mallocs()
	before := c.mallocs()
	s := ask()
	own := before - zero // the allocations that the metrics page itself makes
	s.Allocations = math.Max(c.mallocs()-before-own, 0) / float64(s.Asked)
	return s
}

// keepAwake runs a program on the server's core that takes the core from no other program, until the function that it returns
// is called. A core that idles may sleep deeply, and a virtual one is given away. The less a server does, the longer it would
// wait for its core, and the tail of its latency would be the hypervisor's.
func (c *contestant) keepAwake() (stop func()) {
	c.node.Pin(c.Host, c.serverCore)
	p := process.Start(c.Host, c.node, process.Command{Path: self(c.Host), Args: []string{"awake"}})
	return func() {
		p.Signal(c.Host, syscall.SIGKILL)
		p.Wait(c.Host, time.Second)
	}
}

// awake is the program that keepAwake runs. It never ends by itself.
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

// memory fills the cache of a new process. The resident memory is read when the last answer has come.
func (c *contestant) memory() sample {
	s := sample{RSS: map[string]float64{"0": mb(c.process.RSS(c.Host))}}
	first := 0
	for _, upTo := range []int{10_000, 100_000} {
		var names []loads.Query
		for i := range upTo - first {
			names = append(names, loads.Ask(fmt.Sprintf("name-%08d.%s", first+i, loads.SearchPath[0]), dns.TypeA))
		}
		s.Lost += c.dnsperf(names, "-n", "1", "-q", strconv.Itoa(missesInFlight)).Lost
		first = upTo
		s.RSS[strconv.Itoa(upTo)] = mb(c.process.RSS(c.Host))
	}
	return s
}

func mb(bytes int64) float64 { return float64(bytes) / (1 << 20) }

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }

// dnsperf runs the program of that name in the pod. Its sample has no latencies.
func (c *contestant) dnsperf(queries []loads.Query, options ...string) sample {
	var names strings.Builder
	for _, q := range queries {
		names.WriteString(q.Text + "\n")
	}
	before := c.process.CPU(c.Host)
	r := dnsperf.Run(c.Host, c.pod, serverAddr.Addr(), names.String(), append([]string{"-t", seconds(timeout)}, options...)...)
	used := c.process.CPU(c.Host) - before
	return sample{
		Sent: r.Sent, Answered: r.Answered, Lost: r.Lost, Rate: r.Rate, Asked: r.Sent,
		ServerCPU: micros(used) / math.Max(float64(r.Answered), 1),
	}
}
