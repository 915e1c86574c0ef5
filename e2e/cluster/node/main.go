// SPDX-License-Identifier: Apache-2.0

// Command node is process 1 of a node of the test cluster: in namespaces of its own it mounts what a kubelet expects, then
// starts and stops programs as it is told on standard input, one JSON object a line. When standard input ends, so does it,
// and the kernel ends everything in the namespaces with it, pods and all.
//
// As "node janitor DIR PREFIX" it waits for the end of the tests and cleans up after them.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/e2e/cluster/node/protocol"
)

func main() {
	if len(os.Args) == 4 && os.Args[1] == "janitor" {
		if err := janitor(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "node has to be process 1 of a namespace; make e2e starts it")
		os.Exit(2)
	}
	s := &supervisor{running: map[string]*program{}}
	go s.reap()
	in, out := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var q protocol.Request
		err := json.Unmarshal(in.Bytes(), &q)
		if err == nil {
			err = s.do(q)
		}
		if err := out.Encode(protocol.Answer{Err: text(err)}); err != nil {
			return
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// supervisor knows the programs that it started.
type supervisor struct {
	mu      sync.Mutex
	running map[string]*program
}

type program struct {
	pid  int
	done chan struct{}
}

func (s *supervisor) do(q protocol.Request) error {
	switch {
	case q.SetUp != nil:
		return setUp(*q.SetUp)
	case q.Start != nil:
		return s.start(*q.Start)
	case q.Stop != nil:
		return s.stop(*q.Stop)
	}
	return fmt.Errorf("empty request")
}

func (s *supervisor) start(q protocol.Start) error {
	log, err := os.OpenFile(q.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	s.mu.Lock() // so that reap finds it in running
	defer s.mu.Unlock()
	if s.running[q.Name] != nil {
		return fmt.Errorf("%s runs already", q.Name)
	}
	p, err := os.StartProcess(q.Path, append([]string{q.Name}, q.Args...), &os.ProcAttr{
		Env: q.Env, Files: []*os.File{null, log, log},
	})
	if err != nil {
		return fmt.Errorf("starting %s: %w", q.Name, err)
	}
	s.running[q.Name] = &program{pid: p.Pid, done: make(chan struct{})}
	return nil
}

// stop sends the signal and waits for the end.
func (s *supervisor) stop(q protocol.Stop) error {
	s.mu.Lock()
	p := s.running[q.Name]
	s.mu.Unlock()
	if p == nil {
		return fmt.Errorf("%s does not run", q.Name)
	}
	if err := unix.Kill(p.pid, unix.Signal(q.Signal)); err != nil {
		return fmt.Errorf("stopping %s: %w", q.Name, err)
	}
	<-p.done
	return nil
}

// reap collects the children, and the orphans that a process 1 inherits: containerd's shims leave some.
func (s *supervisor) reap() {
	child := make(chan os.Signal, 1)
	signal.Notify(child, unix.SIGCHLD)
	for range child {
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if err == unix.EINTR {
				continue
			}
			if err != nil || pid <= 0 {
				break
			}
			s.note(pid)
		}
	}
}

func (s *supervisor) note(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, p := range s.running {
		if p.pid == pid {
			close(p.done)
			delete(s.running, name)
		}
	}
}
