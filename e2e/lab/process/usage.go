// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/usage"
)

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

// CPU is the time that the process and its descendants have spent on the CPU.
func (p *Process) CPU(t testing.TB) time.Duration {
	t.Helper()
	used, err := usage.CPU(p.Pid())
	if err != nil {
		t.Fatal(err)
	}
	return used
}
