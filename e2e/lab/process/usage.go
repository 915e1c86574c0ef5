// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// clockTick is the unit of the CPU times in /proc: 1/100 s on every architecture that Linux has left (USER_HZ).
const clockTick = 10 * time.Millisecond

// RSS is the process's resident memory in bytes.
func (p *Process) RSS(t testing.TB) int64 {
	t.Helper()
	kb, err := p.status("VmRSS")
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

// status is the number of a line of /proc/PID/status.
func (p *Process) status(name string) (value int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			_, err := fmt.Sscan(rest, &value)
			return value, err
		}
	}
	return 0, fmt.Errorf("no %s of process %d", name, p.Pid())
}

// CPU is the time that the process has spent on the CPU, with its children that have ended.
func (p *Process) CPU(t testing.TB) time.Duration {
	t.Helper()
	stat := p.proc(t, "stat")
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]) // from field 3, the state
	ticks := 0
	for _, f := range fields[11:15] { // utime stime cutime cstime
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatalf("reading the CPU time: %v", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick
}

func (p *Process) proc(t testing.TB, file string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.Pid(), file))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
