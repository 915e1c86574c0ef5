// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/bench/loads"
)

// TestMain lets the test's program be the others, too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && modes[os.Args[1]] != nil {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestGenerate asks the bare loop and the upstream server on the loopback link.
func TestGenerate(t *testing.T) {
	upstream, loop := freeAddress(t), freeAddress(t)
	start(t, "upstream", upstream)
	waitAnswer(t, upstream)
	pid := start(t, "floor", loop)
	waitAnswer(t, loop)
	for name, task := range map[string]task{
		"closed loop": {Load: "hits", InFlight: 16, ServerAddr: loop},
		"one by one":  {Load: "zipf", InFlight: 1, ServerAddr: loop},
		"rate":        {Load: "hits", Rate: 500, ServerAddr: loop},
		"spinning":    {Load: "hits", Rate: 500, Spin: true, ServerAddr: loop},
		"half":        {Load: "half", InFlight: 4, ServerAddr: upstream},
	} {
		t.Run(name, func(t *testing.T) {
			task.ServerPID, task.Time, task.Warm = pid, 50*time.Millisecond, 5*time.Millisecond
			s := run(t, task)
			if s.Answered == 0 || s.Answered != s.Sent || s.Lost+s.Wrong+s.Late > 0 {
				t.Errorf("%d sent, %d answered, %d lost, %d wrong, %d late", s.Sent, s.Answered, s.Lost, s.Wrong, s.Late)
			}
			if s.P50 <= 0 || s.P999 < s.P50 || s.Asked < s.Sent {
				t.Errorf("p50 %g, p999 %g, %d asked", s.P50, s.P999, s.Asked)
			}
		})
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs the program in one of its modes until the test ends.
func start(t *testing.T, args ...string) (pid int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // it was killed
	})
	return cmd.Process.Pid
}

func waitAnswer(t *testing.T, server string) {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(loads.ServiceName(0), dns.TypeA)
	err := errors.New("not tried")
	for deadline := time.Now().Add(5 * time.Second); err != nil; {
		if _, _, err = new(dns.Client).Exchange(q, server); time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func run(t *testing.T, task task) (s sample) {
	t.Helper()
	out, err := exec.Command(os.Args[0], task.args()...).Output()
	if err == nil {
		err = json.Unmarshal(out, &s)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return s
}
