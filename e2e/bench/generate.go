// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/bench/loads"
	"github.com/nodelocaldns/nodelocaldns/e2e/usage"
)

// task is what a generator is to do. It travels as JSON, as the generator is a process in the pod.
type task struct {
	Load       string
	InFlight   int           // queries that wait for their answers at a time
	Rate       int           // queries a second, whatever is in flight; 0: as many as possible
	Spin       bool          // with a rate: the client does not sleep
	Warm, Time time.Duration // without and with measurement
	ServerAddr string
	ServerPID  int
}

func (t task) args() []string {
	text, err := json.Marshal(t)
	if err != nil {
		panic(err) // all its fields have a form in JSON
	}
	return []string{"generate", string(text)}
}

// sample is one measurement of one server. All CPU times are for one answer, in microseconds.
type sample struct {
	Server      string `json:"server"`
	Measurement string `json:"measurement"`
	Round       int    `json:"round"`

	Sent     int     `json:"sent,omitempty"`
	Answered int     `json:"answered,omitempty"`
	Lost     int     `json:"lost"`
	Wrong    int     `json:"wrong,omitempty"`
	Late     int     `json:"late,omitempty"`
	Rate     float64 `json:"queries_per_second,omitempty"`

	ServerCPU  float64 `json:"server_cpu_us,omitempty"`
	ClientCPU  float64 `json:"client_cpu_us,omitempty"`
	SoftirqCPU float64 `json:"ksoftirqd_cpu_us,omitempty"`

	P50  float64 `json:"p50_us,omitempty"`
	P99  float64 `json:"p99_us,omitempty"`
	P999 float64 `json:"p999_us,omitempty"`

	Asked       int     `json:"asked_with_warm_up,omitempty"`
	Allocations float64 `json:"allocations,omitempty"`

	RSS map[string]float64 `json:"rss_mb,omitempty"`
}

// generate is the client's process: it prints a sample.
func generate(args []string) error {
	var t task
	if len(args) != 1 || json.Unmarshal([]byte(args[0]), &t) != nil {
		return fmt.Errorf("generate %q: want a task", args)
	}
	debug.SetGCPercent(-1) // it would wait for a goroutine that is in a system call unknown to it
	l, err := loads.New(t.Load)
	if err != nil {
		return err
	}
	g, err := newGenerator(t.ServerAddr, l)
	if err != nil {
		return err
	}
	if err := g.run(t, t.Warm); err != nil {
		return err
	}
	asked := g.Sent
	m := newMeter(t.ServerPID)
	before, err := m.read()
	if err != nil {
		return err
	}
	if err := g.run(t, t.Time); err != nil {
		return err
	}
	after, err := m.read()
	if err != nil {
		return err
	}
	s := newSample(g.tally, after.since(before))
	s.Asked = asked + g.Sent
	return json.NewEncoder(os.Stdout).Encode(s)
}

func newSample(t tally, cpu times) sample {
	each := func(d time.Duration) float64 { return micros(d) / math.Max(float64(t.Answered), 1) }
	p50, p99, p999 := t.quantiles()
	return sample{
		Sent: t.Sent, Answered: t.Answered, Lost: t.Lost, Wrong: t.Wrong, Late: t.Late,
		Rate:      float64(t.Answered) / t.Seconds,
		ServerCPU: each(cpu.server), ClientCPU: each(cpu.client), SoftirqCPU: each(cpu.softirq),
		P50: micros(p50), P99: micros(p99), P999: micros(p999),
	}
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// machine is the CPU time of the whole machine for one answer, as far as it was measured.
func (s sample) machine() float64 { return s.ServerCPU + s.ClientCPU + s.SoftirqCPU }

func (s sample) String() string {
	if s.RSS != nil {
		return fmt.Sprintf("%.1f MB, with 10,000 names %.1f MB, with 100,000 %.1f MB, %d lost", s.RSS["0"], s.RSS["10000"], s.RSS["100000"], s.Lost)
	}
	return fmt.Sprintf("server %.2f µs, machine %.2f µs, %.0f queries/s, p50 %.0f p99 %.0f p999 %.0f µs, %d lost, %d wrong",
		s.ServerCPU, s.machine(), s.Rate, s.P50, s.P99, s.P999, s.Lost, s.Wrong)
}

// times are the CPU times of the programs that a query passes, with all that the kernel did on behalf of each.
type times struct{ server, client, softirq time.Duration }

func (t times) since(before times) times {
	return times{t.server - before.server, t.client - before.client, t.softirq - before.softirq}
}

// meter reads the times of the server, of this process, and of ksoftirqd: these kernel threads take over when there is too
// much to do in interrupts.
type meter struct {
	server   int // process ID
	softirqs []string
}

func newMeter(server int) meter { return meter{server, usage.Named("ksoftirqd/")} }

func (m meter) read() (t times, err error) {
	if t.server, err = usage.CPU(m.server); err != nil {
		return t, err
	}
	t.softirq = usage.Sum(m.softirqs)
	t.client, err = usage.CPU(os.Getpid())
	return t, err
}
