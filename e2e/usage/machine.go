// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Machine describes the machine of a measurement, and what others had of it meanwhile.
type Machine struct {
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

// DescribeMachine describes this machine. What others had of it is not known yet, see Interference.
func DescribeMachine() Machine {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version(), Date: time.Now().Format(time.DateOnly)}
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

func (m Machine) String() string {
	virtual := ""
	if m.Hypervisor {
		virtual = " (virtual machine)"
	}
	return fmt.Sprintf("%s: %s, %d cores%s, %.0f GB, %s, Linux %s, %s. Other programs had %.1f %% of the CPU time, other machines %.1f %%",
		m.Date, m.CPU, m.Cores, virtual, m.MemoryGB, m.System, m.Kernel, m.Go, 100*m.Others, 100*m.Stolen)
}

// Ticks are CPU times of the whole machine, in clock ticks since it started.
type Ticks struct {
	all    float64
	stolen float64 // by other virtual machines
	busy   float64
	own    float64 // of this process and of its children that have ended
}

// ReadTicks reads the CPU times since the start of the machine.
func ReadTicks() (t Ticks) {
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
			t.own += float64(r.Utime.Nano()+r.Stime.Nano()) / float64(ClockTick)
		}
	}
	return t
}

// Interference is the share of the CPU time that other machines and other programs had. The second reading must be taken when
// all processes of the comparison have ended.
func Interference(before, after Ticks) (machines, programs float64) {
	all := max(after.all-before.all, 1)
	others := after.busy - before.busy - (after.own - before.own)
	return (after.stolen - before.stolen) / all, max(others, 0) / all
}
