// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

// TestIgnore has a program print to somebody who does not read: it stands still until it is read again.
func TestIgnore(t *testing.T) {
	harness.Require(t)
	n := netns.New(t, "printer")
	loud := Start(t, n, Command{Path: "/bin/sh", Args: []string{"-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done"}})
	loud.WaitOutput(t, 5*time.Second, "2")
	listen := loud.Ignore(t)
	had := loud.lastLine()
	<-time.After(200 * time.Millisecond) // the measurement
	if now := loud.lastLine(); now != had {
		t.Errorf("%q was read after %q", now, had)
	}
	harness.Until(t, 5*time.Second, "process in write(2)", func() error {
		call, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", loud.Pid()))
		if err == nil && !strings.HasPrefix(string(call), fmt.Sprintf("%d ", unix.SYS_WRITE)) {
			err = fmt.Errorf("it is in %q", call)
		}
		return err
	})
	listen()
	harness.Until(t, 5*time.Second, "next line", func() error {
		if now := loud.lastLine(); now == had {
			return fmt.Errorf("still %q", now)
		}
		return nil
	})
}

func (p *Process) lastLine() string { return tail(p.Output(), 1) }
