// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/usage"
)

// results are all that was measured, and on which machine.
type results struct {
	Machine  machine       `json:"machine"`
	Servers  []description `json:"servers"`
	Rounds   int           `json:"rounds"`
	Seconds  float64       `json:"seconds"`
	Failures []string      `json:"failures,omitempty"`
	Samples  []sample      `json:"samples"`
}

// spread summarizes a value over the rounds.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	Count  int     `json:"rounds"`
}

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	return spread{(s[(n-1)/2] + s[n/2]) / 2, s[0], s[n-1], n}
}

// value takes a number out of a sample.
type value func(sample) float64

func serverCPU(s sample) float64   { return s.ServerCPU }
func rate(s sample) float64        { return s.Rate }
func p50(s sample) float64         { return s.P50 }
func p99(s sample) float64         { return s.P99 }
func p999(s sample) float64        { return s.P999 }
func allocations(s sample) float64 { return s.Allocations }

func rss(names string) value { return func(s sample) float64 { return s.RSS[names] } }

func (r *results) add(server, measurement string, round int, s sample) {
	s.Server, s.Measurement, s.Round = server, measurement, round
	r.Samples = append(r.Samples, s)
}

// selected lists the samples of a server and measurement.
func (r *results) selected(server, measurement string) (found []sample) {
	for _, s := range r.Samples {
		if s.Server == server && s.Measurement == measurement {
			found = append(found, s)
		}
	}
	return found
}

func (r *results) spread(server, measurement string, v value) spread {
	var values []float64
	for _, s := range r.selected(server, measurement) {
		values = append(values, v(s))
	}
	return spreadOf(values)
}

// ratio divides the value of a server by that of another one, round by round. So a change of the machine between rounds does not
// change the ratio.
func (r *results) ratio(server, to, measurement string, v value) spread {
	var values []float64
	for _, s := range r.selected(server, measurement) {
		for _, t := range r.selected(to, measurement) {
			if s.Round == t.Round && v(t) > 0 {
				values = append(values, v(s)/v(t))
			}
		}
	}
	return spreadOf(values)
}

// lost adds up the queries over the rounds.
func (r *results) lost(server, measurement string) (lost, wrong, sent int) {
	for _, s := range r.selected(server, measurement) {
		lost, wrong, sent = lost+s.Lost, wrong+s.Wrong, sent+s.Sent
	}
	return lost, wrong, sent
}

// write writes the files of the results to a directory, and prints their names.
func (r *results) write(dir string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range []struct{ name, text string }{
		{"results.json", string(text) + "\n"}, {"results.md", report(r)}, {"hits.svg", plot(r)},
	} {
		path := filepath.Join(dir, f.name)
		if err := os.WriteFile(path, []byte(f.text), 0o644); err != nil {
			return err
		}
		fmt.Println(path)
	}
	return nil
}

// machine describes the machine of the measurement.
type machine struct {
	CPU        string  `json:"cpu"`
	Cores      int     `json:"cores"`
	MemoryGB   float64 `json:"memory_gb"`
	Hypervisor bool    `json:"virtual"`
	Kernel     string  `json:"kernel"`
	System     string  `json:"system"`
	Go         string  `json:"go"`
	Date       string  `json:"date"`
	Stolen     float64 `json:"stolen"`         // share of the CPU time that the hypervisor gave to other machines
	Others     float64 `json:"other_programs"` // share that programs took which do not belong to the comparison
}

// description says which server was measured.
type description struct {
	Name    string `json:"name"`
	Title   string `json:"title"`
	Version string `json:"version,omitempty"`
}

func describeMachine() machine {
	m := machine{Cores: runtime.NumCPU(), Go: runtime.Version(), Date: time.Now().Format(time.DateOnly)}
	m.CPU = strings.TrimPrefix(line("/proc/cpuinfo", "model name"), ": ")
	m.Hypervisor = strings.Contains(line("/proc/cpuinfo", "flags"), " hypervisor")
	m.System = strings.Trim(line("/etc/os-release", "PRETTY_NAME="), `"`)
	var kb float64
	if _, err := fmt.Sscan(line("/proc/meminfo", "MemTotal:"), &kb); err == nil { // else the description has 0
		m.MemoryGB = kb / (1 << 20)
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Machine[:])
	}
	return m
}

// line finds the first line of a file that begins with the prefix, and returns the rest of the line.
func line(path, prefix string) string {
	text, _ := os.ReadFile(path) // without the file the description is shorter
	for _, l := range strings.Split(string(text), "\n") {
		if rest, ok := strings.CutPrefix(l, prefix); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

func (m machine) String() string {
	virtual := ""
	if m.Hypervisor {
		virtual = " (virtual machine)"
	}
	return fmt.Sprintf("%s: %s, %d cores%s, %.0f GB, %s, Linux %s, %s. Other programs had %.1f %% of the CPU time, other machines %.1f %%",
		m.Date, m.CPU, m.Cores, virtual, m.MemoryGB, m.System, m.Kernel, m.Go, 100*m.Others, 100*m.Stolen)
}

func describeServers(h *harness.Host, servers []server) (all []description) {
	for _, s := range servers {
		d := description{Name: s.name, Title: s.title}
		if s.version != "" {
			out, _ := exec.Command(s.path(h), s.version).CombinedOutput() // some end with an error after they have printed it
			d.Version, _, _ = strings.Cut(strings.TrimSpace(string(out)), "\n")
		}
		all = append(all, d)
	}
	return all
}

// ticks are CPU times of the whole machine, in clock ticks since it started.
type ticks struct {
	all    float64
	stolen float64 // by other virtual machines
	busy   float64
	own    float64 // of this process and of its children that have ended
}

func readTicks() (t ticks) {
	var n [8]float64 // user nice system idle iowait irq softirq steal
	words := strings.Fields(line("/proc/stat", "cpu "))
	for i := range min(len(n), len(words)) {
		n[i], _ = strconv.ParseFloat(words[i], 64) // the kernel writes numbers
		t.all += n[i]
	}
	t.stolen = n[7]
	t.busy = t.all - n[3] - n[4] - n[7]
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var r unix.Rusage
		if err := unix.Getrusage(who, &r); err == nil { // it knows both
			t.own += float64(r.Utime.Nano()+r.Stime.Nano()) / float64(usage.ClockTick)
		}
	}
	return t
}

// interference is the share of the CPU time that other machines and other programs had. The second reading must be taken when
// all processes of the comparison have ended.
func interference(before, after ticks) (machines, programs float64) {
	all := max(after.all-before.all, 1)
	others := after.busy - before.busy - (after.own - before.own)
	return (after.stolen - before.stolen) / all, max(others, 0) / all
}
