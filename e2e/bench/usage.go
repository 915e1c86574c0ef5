// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of the times in /proc/PID/stat.
const clockTick = 10 * time.Millisecond

// usage is CPU time, with all that the kernel did on behalf of the process.
type usage struct{ server, client, softirq time.Duration }

func (u usage) since(before usage) usage {
	return usage{u.server - before.server, u.client - before.client, u.softirq - before.softirq}
}

// meter reads the times of the server with its children, of this process, and of the kernel threads that take over when
// there is too much to do in interrupts.
type meter struct {
	server   int
	softirqs []string
}

func newMeter(server int) (*meter, error) {
	m := &meter{server: server}
	names, err := filepath.Glob("/proc/[0-9]*/comm")
	for _, path := range names {
		name, err := os.ReadFile(path)
		if err == nil && strings.HasPrefix(string(name), "ksoftirqd/") { // else it has ended, or it is another
			m.softirqs = append(m.softirqs, filepath.Join(filepath.Dir(path), "schedstat"))
		}
	}
	return m, err
}

func (m *meter) read() (u usage, err error) {
	if u.server, err = treeTime(m.server); err != nil {
		return u, err
	}
	for _, path := range m.softirqs {
		t, err := scheduled(path)
		if err != nil {
			return u, err
		}
		u.softirq += t
	}
	u.client, err = threadsTime(os.Getpid())
	return u, err
}

// treeTime is of a process, of its children, and of those that it has waited for; the last come in clock ticks.
func treeTime(pid int) (time.Duration, error) {
	sum, err := threadsTime(pid)
	if err != nil {
		return 0, err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:])) // from field 3 on
	var user, system int
	if _, err := fmt.Sscan(strings.Join(fields[13:15], " "), &user, &system); err != nil {
		return 0, fmt.Errorf("reading the children's time: %w", err)
	}
	sum += time.Duration(user+system) * clockTick
	for _, child := range children(pid) {
		t, _ := treeTime(child) // it has ended
		sum += t
	}
	return sum, nil
}

// children are those that have not ended.
func children(pid int) (pids []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // the pattern is good
	for _, list := range lists {
		text, _ := os.ReadFile(list) // the thread has ended
		for _, word := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}

func threadsTime(pid int) (sum time.Duration, err error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err == nil && len(threads) == 0 {
		err = fmt.Errorf("no process %d", pid)
	}
	for _, path := range threads {
		t, terr := scheduled(path)
		if terr == nil { // else the thread has ended
			sum += t
		}
	}
	return sum, err
}

// scheduled is a thread's time on the CPU, to the nanosecond.
func scheduled(path string) (time.Duration, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	var ns int64
	if _, err := fmt.Sscan(string(text), &ns); err != nil {
		return 0, fmt.Errorf("reading %s: %w", path, err)
	}
	return time.Duration(ns), nil
}
