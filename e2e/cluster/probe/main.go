// SPDX-License-Identifier: Apache-2.0

// Command probe is what the pods of the test cluster run: it asks DNS as it is told over HTTP, and reports. So a load does
// not depend on the kubelet's exec, and goes on while a kubelet restarts.
//
//	probe [-listen ADDRESS]    serve (default :7080)
//	pause                      (the same file by that name) the pods' sandbox: wait, and reap orphans
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"testing"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/e2e/cluster/probe/protocol"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

func main() {
	if filepath.Base(os.Args[0]) == "pause" {
		pause()
	}
	listen := ":7080"
	if len(os.Args) > 2 && os.Args[1] == "-listen" {
		listen = os.Args[2]
	}
	s := &server{loads: map[string]*client.Load{}}
	http.HandleFunc("/ask", handle(ask))
	http.HandleFunc("/lookup", handle(lookup))
	http.HandleFunc("/start", handle(s.start))
	http.HandleFunc("/report", handle(s.report))
	http.HandleFunc("/stop", handle(s.stop))
	http.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	fmt.Fprintln(os.Stderr, http.ListenAndServe(listen, nil))
	os.Exit(1)
}

// handle makes a handler of a function from JSON to JSON.
func handle[Q, A any](f func(Q) (A, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var q Q
		err := json.NewDecoder(r.Body).Decode(&q)
		var a A
		if err == nil {
			a, err = f(q)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			return
		}
		_ = json.NewEncoder(w).Encode(a) // fails when the test has gone away
	}
}

var here = netns.Here(hostname())

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "pod"
	}
	return name
}

func ask(q client.Query) (a protocol.Wire, err error) {
	msg, err := client.Ask(here, q)
	if err != nil {
		return a, err
	}
	a.Message, err = msg.Pack()
	return a, err
}

func lookup(q protocol.Lookup) (a protocol.Addresses, err error) {
	c, err := dns.ClientConfigFromFile("/etc/resolv.conf")
	if err != nil {
		return a, err
	}
	a.Addresses, err = client.Lookup(here, c, q.Name)
	return a, err
}

// server keeps the running loads.
type server struct {
	mu    sync.Mutex
	loads map[string]*client.Load
}

// outside stands in for a test: a load needs of it only a place to leave its clean-up, which the end of the process is.
type outside struct{ testing.TB }

func (outside) Helper()        {}
func (outside) Cleanup(func()) {}

func (s *server) start(q protocol.Load) (protocol.Done, error) {
	p := client.Probe{
		From: here, Target: q.Server, TCP: q.TCP, Socket: client.Socket(q.Socket), LocalPort: q.LocalPort,
		Interval: q.Interval, Timeout: q.Timeout, Name: q.Namer(), Check: q.Check(),
	}
	if q.Stub || !q.Server.IsValid() {
		c, err := dns.ClientConfigFromFile("/etc/resolv.conf")
		if err != nil {
			return protocol.Done{}, err
		}
		if q.Server.IsValid() {
			c.Servers = []string{q.Server.String()}
		}
		p.Stub = c
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loads[q.ID] != nil {
		return protocol.Done{}, fmt.Errorf("load %s runs already", q.ID)
	}
	s.loads[q.ID] = p.Start(outside{})
	return protocol.Done{}, nil
}

func (s *server) load(id string) (*client.Load, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.loads[id]; l != nil {
		return l, nil
	}
	return nil, fmt.Errorf("no load %s", id)
}

func (s *server) report(q protocol.ID) (protocol.Report, error) {
	l, err := s.load(q.ID)
	if err != nil {
		return protocol.Report{}, err
	}
	return protocol.ReportOf(l.SoFar()), nil
}

func (s *server) stop(q protocol.ID) (protocol.Report, error) {
	l, err := s.load(q.ID)
	if err != nil {
		return protocol.Report{}, err
	}
	r := protocol.ReportOf(l.Stop())
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.loads, q.ID)
	return r, nil
}

func pause() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGCHLD)
	for s := range signals {
		if s != unix.SIGCHLD {
			os.Exit(0)
		}
		for {
			if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != nil || pid <= 0 {
				break
			}
		}
	}
}
