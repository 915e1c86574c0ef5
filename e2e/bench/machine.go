// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/usage"
)

// machine is where it was measured.
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
	Others     float64 `json:"other_programs"` // share of it that programs took which are not of the comparison
}

// description is of a server as it was measured.
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
	if _, err := fmt.Sscan(line("/proc/meminfo", "MemTotal:"), &kb); err == nil { // else it is not told
		m.MemoryGB = kb / (1 << 20)
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Machine[:])
	}
	return m
}

// line is the rest of the first line of a file that begins so.
func line(path, prefix string) string {
	text, _ := os.ReadFile(path) // a machine without the file is not described so
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

func describeServers(h *lab.Host, servers []server) (all []description) {
	for _, s := range servers {
		d := description{Name: s.name, Title: s.title}
		if s.version != nil {
			out, _ := exec.Command(s.path(h), s.version...).CombinedOutput() // some end with an error after they have said it
			d.Version, _, _ = strings.Cut(strings.TrimSpace(string(out)), "\n")
		}
		all = append(all, d)
	}
	return all
}

// ticks are of all the machine's CPU time.
type ticks struct{ all, stolen, busy, own float64 }

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

// interference is the share that other machines and other programs had of the CPU time. It is to be asked for when all
// processes of the comparison have ended.
func interference(before, after ticks) (machines, programs float64) {
	all := max(after.all-before.all, 1)
	others := after.busy - before.busy - (after.own - before.own)
	return (after.stolen - before.stolen) / all, max(others, 0) / all
}
