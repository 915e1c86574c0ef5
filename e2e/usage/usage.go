// SPDX-License-Identifier: Apache-2.0

// Package usage reads from /proc how much CPU time processes and kernel threads have taken, and what machine this is.
package usage

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ClockTick is the unit of the CPU times in /proc/PID/stat and /proc/stat: 1/100 s on every architecture that Linux supports
// (USER_HZ, include/asm-generic/param.h).
const ClockTick = 10 * time.Millisecond

// CPU is the time that a process and its descendants have spent on the CPU, with what the kernel did in their system calls.
// It is exact to a nanosecond while no thread and no child of the process has ended, else to two ticks. CPU fails if there is
// no such process.
func CPU(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	own, children, err := parseStat(string(text))
	if err != nil {
		return 0, fmt.Errorf("reading the CPU time of process %d: %w", pid, err)
	}
	sum := max(own, threads(pid)) + children // the ticks include the threads that have ended
	for _, child := range running(pid) {
		t, _ := CPU(child) // the child may have ended
		sum += t
	}
	return sum, nil
}

// parseStat finds the CPU time of a process, and that of the children that it has waited for, in its line of
// /proc/PID/stat (proc_pid_stat(5)).
func parseStat(line string) (own, children time.Duration, err error) {
	fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:]) // from field 3, the state
	if len(fields) < 15 {
		return 0, 0, fmt.Errorf("only %d fields", len(fields))
	}
	var ticks [4]int // utime stime cutime cstime
	for i := range ticks {
		if ticks[i], err = strconv.Atoi(fields[11+i]); err != nil {
			return 0, 0, err
		}
	}
	return time.Duration(ticks[0]+ticks[1]) * ClockTick, time.Duration(ticks[2]+ticks[3]) * ClockTick, nil
}

// threads adds up the time of the threads that have not ended.
func threads(pid int) (sum time.Duration) {
	return Sum(glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid)))
}

// running lists the children that have not ended.
func running(pid int) (pids []int) {
	for _, list := range glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) {
		text, _ := os.ReadFile(list) // the thread may have ended
		for _, word := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}

// Sum adds up the time on the CPU with which files of the form of /proc/PID/schedstat begin, in nanoseconds
// (Documentation/scheduler/sched-stats.rst). A file that is gone, because its thread has ended, counts as zero.
func Sum(schedstats []string) (sum time.Duration) {
	for _, path := range schedstats {
		text, _ := os.ReadFile(path)
		word, _, _ := strings.Cut(string(text), " ")
		ns, _ := strconv.ParseInt(word, 10, 64)
		sum += time.Duration(ns)
	}
	return sum
}

// Named lists the schedstat files, for Sum, of the main threads of processes, and of the kernel threads, whose name begins
// with the prefix.
func Named(prefix string) (schedstats []string) {
	for _, path := range glob("/proc/[0-9]*/comm") {
		name, _ := os.ReadFile(path) // the process may have ended
		if strings.HasPrefix(string(name), prefix) {
			schedstats = append(schedstats, filepath.Join(filepath.Dir(path), "schedstat"))
		}
	}
	return schedstats
}

// Waiting is the time since the machine's start in which some task waited for a CPU (Documentation/accounting/psi.rst). It is zero on a
// kernel that does not count it.
func Waiting() time.Duration {
	text, _ := os.ReadFile("/proc/pressure/cpu") // missing without CONFIG_PSI
	return parsePressure(string(text))
}

func parsePressure(text string) time.Duration {
	some, _, _ := strings.Cut(text, "\n")
	_, total, _ := strings.Cut(some, "total=")
	us, _ := strconv.ParseInt(total, 10, 64) // empty without the file
	return time.Duration(us) * time.Microsecond
}

// glob is filepath.Glob for patterns that are well-formed.
func glob(pattern string) []string {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		panic(err)
	}
	return paths
}
