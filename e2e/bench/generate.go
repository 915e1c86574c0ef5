// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"net"
	"os"
	"runtime/debug"
	"strconv"
	"time"
)

// task is what a generator is to do. It travels as flags.
type task struct {
	Load       string
	InFlight   int           // queries, or connections of TCP
	Rate       int           // queries a second; 0: as many as possible
	Count      int           // of queries, instead of a time
	Warm, Time time.Duration // without and with measurement
	TCP, Spin  bool
	ServerPID  int
	ServerAddr string
}

func (t task) args() []string {
	return []string{
		"generate", "-load", t.Load, "-inflight", strconv.Itoa(t.InFlight), "-rate", strconv.Itoa(t.Rate), "-count", strconv.Itoa(t.Count),
		"-warm", t.Warm.String(), "-time", t.Time.String(), "-tcp=" + strconv.FormatBool(t.TCP), "-spin=" + strconv.FormatBool(t.Spin),
		"-pid", strconv.Itoa(t.ServerPID), "-server", t.ServerAddr,
	}
}

func parseTask(args []string) (t task) {
	flags := flag.NewFlagSet("generate", flag.ExitOnError)
	flags.StringVar(&t.Load, "load", "hits", "`NAME` of the load")
	flags.IntVar(&t.InFlight, "inflight", batchSize, "`QUERIES` that wait for their answers at a time, or connections of TCP")
	flags.IntVar(&t.Rate, "rate", 0, "`QUERIES` a second, whatever is in flight")
	flags.IntVar(&t.Count, "count", 0, "end after so many `QUERIES`")
	flags.DurationVar(&t.Warm, "warm", 0, "`TIME` before the measurement")
	flags.DurationVar(&t.Time, "time", time.Second, "`TIME` of the measurement")
	flags.BoolVar(&t.TCP, "tcp", false, "ask over TCP")
	flags.BoolVar(&t.Spin, "spin", false, "with -rate: never sleep")
	flags.IntVar(&t.ServerPID, "pid", 0, "`PID` of the server")
	flags.StringVar(&t.ServerAddr, "server", "", "`ADDRESS` of the server")
	_ = flags.Parse(args) // exits
	return t
}

// sample is one measurement of one server. All CPU times are for one answer, in microseconds.
type sample struct {
	Server      string `json:"server"`
	Measurement string `json:"measurement"`
	Round       int    `json:"round"`

	Sent       int     `json:"sent,omitempty"`
	Answered   int     `json:"answered,omitempty"`
	Lost       int     `json:"lost"`
	Wrong      int     `json:"wrong,omitempty"`
	Late       int     `json:"late,omitempty"`
	Reconnects int     `json:"reconnects,omitempty"`
	Rate       float64 `json:"queries_per_second,omitempty"`

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
	t := parseTask(args)
	run := t.tcp
	if !t.TCP {
		debug.SetGCPercent(-1) // it would wait for a goroutine that is in a system call unknown to it
		g, err := t.connect()
		if err != nil {
			return err
		}
		run = func(d time.Duration) (tally, error) { return t.udp(g, d) }
	}
	warm, err := tally{}, error(nil)
	if t.Warm > 0 {
		if warm, err = run(t.Warm); err != nil {
			return err
		}
	}
	m := newMeter(t.ServerPID)
	before, err := m.read()
	if err != nil {
		return err
	}
	measured, err := run(t.Time)
	if err != nil {
		return err
	}
	after, err := m.read()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(newSample(measured, after.since(before), warm.Sent+measured.Sent))
}

func (t task) connect() (*generator, error) {
	addr, err := net.ResolveUDPAddr("udp4", t.ServerAddr)
	if err != nil {
		return nil, err
	}
	l, err := newLoad(t.Load)
	if err != nil {
		return nil, err
	}
	return newGenerator(addr, l)
}

func (t task) udp(g *generator, d time.Duration) (tally, error) {
	g.tally = tally{}
	var err error
	switch {
	case t.Rate > 0:
		err = g.pace(t.Rate, d, t.Spin)
	case t.Count > 0:
		err = g.saturate(t.InFlight, math.MaxInt64, t.Count)
	default:
		err = g.saturate(t.InFlight, d, math.MaxInt)
	}
	return g.tally, err
}

func (t task) tcp(d time.Duration) (tally, error) {
	begin := time.Now()
	sum, err := askTCP(t.ServerAddr, t.Load, t.InFlight, d)
	sum.Seconds = time.Since(begin).Seconds()
	return sum, err
}

func newSample(t tally, u times, asked int) sample {
	each := func(d time.Duration) float64 { return micros(d) / math.Max(float64(t.Answered), 1) }
	return sample{
		Sent: t.Sent, Answered: t.Answered, Lost: t.Lost, Wrong: t.Wrong, Late: t.Late, Reconnects: t.Reconnects,
		Rate:      float64(t.Answered) / t.Seconds,
		ServerCPU: each(u.server), ClientCPU: each(u.client), SoftirqCPU: each(u.softirq),
		P50: micros(t.latency.quantile(0.5)), P99: micros(t.latency.quantile(0.99)), P999: micros(t.latency.quantile(0.999)),
		Asked: asked,
	}
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// machine is the CPU time of the whole machine for one answer, as far as it is told.
func (s sample) machine() float64 { return s.ServerCPU + s.ClientCPU + s.SoftirqCPU }

// String has what there is.
func (s sample) String() string {
	switch {
	case s.RSS != nil:
		return fmt.Sprintf("%.1f MB, with 10,000 names %.1f MB, with 100,000 %.1f MB, %d lost", s.RSS["0"], s.RSS["10000"], s.RSS["100000"], s.Lost)
	case s.Sent == 0:
		return fmt.Sprintf("%.0f queries/s", s.Rate)
	}
	return fmt.Sprintf("server %.2f µs, machine %.2f µs, %.0f queries/s, p50 %.0f p99 %.0f p999 %.0f µs, %d lost, %d wrong",
		s.ServerCPU, s.machine(), s.Rate, s.P50, s.P99, s.P999, s.Lost, s.Wrong)
}
