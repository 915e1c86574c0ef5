// SPDX-License-Identifier: Apache-2.0

// Package process runs programs in network namespaces, keeps their output, and measures what they use.
package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

// Command is a program to run in a namespace.
type Command struct {
	Path  string
	Args  []string
	Env   []string // the whole environment
	Dir   string
	Stdin string
	Line  func(string) bool // called with each line of stdout, if set; true keeps the line out of Output
	Out   *os.File          // takes stdout and stderr, if set; Output returns nothing then
}

// Process is a running Command. It is killed at the end of the test, or when the test process dies. When the test fails, the
// log shows the last 40 lines that the process printed.
type Process struct {
	cmd     *exec.Cmd
	reading sync.Mutex // held while the output is not read
	mu      sync.Mutex
	output  []string
	errors  []string
	done    chan struct{}
}

// Start runs a program in the namespace.
func Start(t testing.TB, n *netns.Namespace, c Command) *Process {
	t.Helper()
	p := &Process{cmd: exec.Command(c.Path, c.Args...), done: make(chan struct{})}
	stdout, stderr := &lines{each: func(s string) { p.line(s, c.Line) }}, &lines{each: p.errorLine}
	p.cmd.Env, p.cmd.Dir, p.cmd.Stdin = c.Env, c.Dir, strings.NewReader(c.Stdin)
	p.cmd.Stdout, p.cmd.Stderr = stdout, stderr
	if c.Out != nil {
		p.cmd.Stdout, p.cmd.Stderr = c.Out, c.Out
	}
	p.cmd.WaitDelay = 5 * time.Second // for the reading of what the process has printed
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if p.cmd.Env == nil {
		p.cmd.Env = []string{}
	}
	if err := n.Run(p.cmd.Start); err != nil {
		t.Fatalf("starting %s in %s: %v", c.Path, n.Name, err)
	}
	go func() {
		_ = p.cmd.Wait() // the state is in ProcessState
		stdout.flush()
		stderr.flush()
		close(p.done)
	}()
	t.Cleanup(func() {
		if p.Running() { // after its end another process can have its number
			_ = syscall.Kill(-p.Pid(), syscall.SIGKILL) // fails if the process has just ended
		}
		<-p.done
		if t.Failed() {
			t.Logf("%s %s in %s printed:\n%s", c.Path, strings.Join(c.Args, " "), n.Name, tail(p.Output(), 40))
		}
	})
	return p
}

// Pid is the number of the process, and of its process group.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal sends a signal to the process alone, without its children.
func (p *Process) Signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("sending %s: %v", sig, err)
	}
}

// Freeze sends SIGSTOP, and waits until all threads of the process are stopped.
func (p *Process) Freeze(t testing.TB) {
	t.Helper()
	p.Signal(t, syscall.SIGSTOP)
	harness.Until(t, 5*time.Second, "frozen process", func() error {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.Pid()))
		if err != nil {
			return err
		}
		for _, path := range stats {
			stat, err := os.ReadFile(path)
			if err != nil || !strings.HasPrefix(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " T ") {
				return fmt.Errorf("%s: %s, %v", path, stat, err)
			}
		}
		return nil
	})
}

// Running says whether the process has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Wait waits for the end and returns the exit code, or minus the number of the signal that ended the process.
func (p *Process) Wait(t testing.TB, timeout time.Duration) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(timeout):
		t.Fatalf("process %d (%s) still runs after %s", p.Pid(), p.cmd.Path, timeout)
	}
	if ws := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		return -int(ws.Signal())
	}
	return p.cmd.ProcessState.ExitCode()
}

// Output is all that the process has printed, both streams in the order of arrival.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.output, "\n")
}

// WaitOutput waits until the process has printed the text, and returns how long that took.
func (p *Process) WaitOutput(t testing.TB, timeout time.Duration, text string) time.Duration {
	t.Helper()
	return harness.Until(t, timeout, fmt.Sprintf("output %q", text), func() error {
		if strings.Contains(p.Output(), text) {
			return nil
		}
		return errors.New("not printed")
	})
}

// Errors is what the process has printed on stderr.
func (p *Process) Errors() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.errors, "\n")
}

func (p *Process) errorLine(s string) {
	p.line(s, nil)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.errors = append(p.errors, s)
}

func (p *Process) line(s string, dealt func(string) bool) {
	p.reading.Lock()
	defer p.reading.Unlock()
	if s == "" { // Ignore writes these
		return
	}
	if dealt != nil && dealt(s) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.output = append(p.output, s)
}
