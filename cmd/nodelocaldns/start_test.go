// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coredns/caddy"

	"github.com/nodelocaldns/nodelocaldns/cmd/nodelocaldns/internal/rendering"
	"github.com/nodelocaldns/nodelocaldns/plugin/nodelocal"
)

// startOn returns a starter for the flags on the node, and the texts that it launches. refuse says what is wrong with one.
func startOn(t *testing.T, n node, flags string, refuse func(string) error) (*starter, *[]string) {
	t.Helper()
	l := n.loader(t, flags+" -statedir DIR/state")
	if err := rendering.MakeStateDir(l.Opts.StateDir); err != nil {
		t.Fatal(err)
	}
	last := rendering.NewLastGood(l.Opts, l.Getenv)
	l.validity.keep = keeper(last, l)
	launched := &[]string{}
	return &starter{l, last, func(input caddy.Input) (*caddy.Instance, error) {
		text := string(input.Body())
		*launched = append(*launched, text)
		if err := refuse(text); err != nil {
			return nil, err
		}
		l.validity.serves(input.Body(), identity(input))
		return &caddy.Instance{}, nil
	}, func() bool { return false }}, launched
}

func refuseNone(string) error { return nil }

// refuseWord refuses a text with the word, with that error.
func refuseWord(word string, err error) func(string) error {
	return func(text string) error {
		if strings.Contains(text, word) {
			return err
		}
		return nil
	}
}

const stubbed = `.:53 {
    bind __PILLAR__LOCAL__DNS__
    forward . __PILLAR__UPSTREAM__SERVERS__
}
taken.example:53 {
    bind __PILLAR__LOCAL__DNS__
    whoami
}
`

// TestStandIn breaks what a start needs. On a node that had a good start the last configuration runs, with the ConfigMap and the
// nameservers of that time; on a fresh one the start fails, or does without what of the ConfigMap is at fault.
func TestStandIn(t *testing.T) {
	const good, both = `{"good.example": ["192.0.2.7"]}`, "good.example:53 {"
	for _, tt := range []struct {
		name, file, text string
		fault            string
		fresh            []string // what is in the text that runs on a fresh node; nil: the start fails
		without          string
	}{
		{"template's syntax", "Corefile.base", ".:53 {\n", "Corefile.base:1: ", nil, ""},
		{"template gone", "Corefile.base", "", "reading template: ", nil, ""},
		{"unknown directive", "Corefile.base", ".:53 {\n    nothing\n}\n", "Corefile.base:2: unknown directive", nil, ""},
		{"variable", "Corefile.base", ".:53 {\n    forward . __PILLAR__CLUSTER__DNS__\n}\n", "__PILLAR__CLUSTER__DNS__ has no value", nil, ""},
		{"refused by a plugin", "Corefile.base", ".:53 {\n    hosts nonsense\n}\n", "nonsense", nil, ""},
		{"resolv.conf without a server", "resolv.conf", "search example.org\n", "names no nameserver", nil, ""},
		{"resolv.conf with the cache alone", "resolv.conf", "nameserver 10.0.0.1\n", "this cache itself", nil, ""},
		{"JSON", "stubDomains", `{"a.example": ["192.0.2.1"],}`, "stubDomains:1:29: ", []string{"forward . 198.51.100.1"}, "stubDomains"},
		{"host name", "stubDomains", `{"a.example": ["ns.example"]}`, "host names are not allowed", []string{"forward . 198.51.100.1"}, "stubDomains"},
		{"own address", "stubDomains", `{"a.example": ["10.0.0.1"]}`, "would ask itself", []string{"forward . 198.51.100.1"}, "stubDomains"},
		{"zone of the template", "stubDomains", `{"taken.example": ["192.0.2.1"]}`, "has a server block for it already", []string{"forward . 198.51.100.1"}, "stubDomains"},
		{"four upstreams", "upstreamNameservers", `["192.0.2.1","192.0.2.2","192.0.2.3","192.0.2.4"]`, "4 entries", []string{both, "forward . DIR/resolv.conf"}, "upstreamNameservers"},
		{"no JSON", "upstreamNameservers", "8.8.8.8", "upstreamNameservers:1:4: ", []string{both, "forward . DIR/resolv.conf"}, "upstreamNameservers"},
		{"own ClusterIP", "upstreamNameservers", `["10.0.0.1"]`, "would ask itself", []string{both, "forward . DIR/resolv.conf"}, "upstreamNameservers"},
		{"refused with the ConfigMap", "stubDomains", `{"nonsense.example": ["192.0.2.1"]}`, "nonsense", []string{"taken.example:53", "forward . DIR/resolv.conf"}, "the kube-dns ConfigMap"},
	} {
		for _, fresh := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, fresh=%t", tt.name, fresh), func(t *testing.T) {
				n, logs := newNode(t), captureLogs(t)
				defer nodelocal.ConfigValid.Set(1)
				writeFile(t, n.dir, "Corefile.base", stubbed)
				writeFile(t, n.dir, "upstreamNameservers", `["198.51.100.1"]`)
				writeFile(t, n.dir, "stubDomains", good)
				if strings.HasPrefix(tt.file, "resolv") {
					_ = os.Remove(filepath.Join(n.dir, "upstreamNameservers"))
				}
				const flags = "-localip 10.0.0.1 -upstreamsvc up -basecorefile DIR/Corefile.base -kubednscm DIR"
				refuse := refuseWord("nonsense", errors.New("plugin/x: Corefile:2 - Error during parsing: nonsense"))
				var before string
				if !fresh {
					s, launched := startOn(t, n, flags, refuse)
					if _, err := s.start(); err != nil || !configValid(t) {
						t.Fatalf("%v, valid=%t", err, configValid(t))
					}
					before = strings.ReplaceAll((*launched)[0], n.dir+"/resolv.conf", "192.0.2.53")
				}
				if tt.text == "" {
					_ = os.Remove(filepath.Join(n.dir, tt.file))
				} else {
					writeFile(t, n.dir, tt.file, tt.text)
				}
				s, launched := startOn(t, n, flags, refuse)
				inst, err := s.start()
				said := logs.take()
				if fresh && tt.fresh == nil {
					if err == nil || inst != nil || !strings.Contains(err.Error(), tt.fault) {
						t.Errorf("started, or not for %q: %v", tt.fault, err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				ran := (*launched)[len(*launched)-1]
				if !fresh {
					contains(t, said, "[ERROR] plugin/nodelocal: Running the last configuration that worked, as the configuration cannot be used: ", tt.fault)
					if ran != before {
						t.Errorf("runs:\n%s\nwant:\n%s", ran, before)
					}
				} else {
					contains(t, said, "[ERROR] plugin/nodelocal: Running what the files say without "+tt.without, tt.fault)
					for _, part := range tt.fresh {
						contains(t, ran, strings.ReplaceAll(part, "DIR", n.dir))
					}
				}
				if configValid(t) {
					t.Error("said to be valid")
				}
				mended(t, n, s, tt.file, stubbed, good)
			})
		}
	}
}

// mended puts the files right: the next look at them gives another text than the one that runs, or says that it is valid.
func mended(t *testing.T, n node, s *starter, file, template, stubs string) {
	t.Helper()
	running := s.validity.running
	text := map[string]string{"Corefile.base": template, "resolv.conf": "nameserver 192.0.2.53\n", "stubDomains": stubs, "upstreamNameservers": `["198.51.100.1"]`}[file]
	writeFile(t, n.dir, file, text)
	input, err := s.reload(rendering.ServerType)
	if err != nil {
		t.Fatal(err)
	}
	if string(input.Body()) == string(running) {
		if !configValid(t) {
			t.Error("not valid although it is what runs")
		}
		return
	}
	s.validity.serves(input.Body(), identity(input))
	if !configValid(t) {
		t.Error("not valid after the reload")
	}
}

// TestNoStandIn is about starts that another configuration would not help.
func TestNoStandIn(t *testing.T) {
	n := newNode(t)
	captureLogs(t)
	defer nodelocal.ConfigValid.Set(1)
	writeFile(t, n.dir, "Corefile.base", template)
	const flags = "-localip 10.0.0.1 -basecorefile DIR/Corefile.base"
	s, _ := startOn(t, n, flags, refuseNone)
	if _, err := s.start(); err != nil {
		t.Fatal(err)
	}
	writeFile(t, n.dir, "Corefile.base", template+"# changed\n")
	for err, want := range map[error]string{
		errors.New("Listen: listen tcp 10.0.0.1:53: bind: address already in use"): "listening on 10.0.0.1:53 (tcp): address already in use",
		errors.New("listen tcp :8080: bind: address already in use"):               "listening on :8080 (tcp): address already in use",
		fmt.Errorf("plugin/nodelocal: %w", nodelocal.NetworkError{}):               "plugin/nodelocal: ",
	} {
		s, launched := startOn(t, n, flags, func(string) error { return err })
		if _, got := s.start(); got == nil || !strings.HasPrefix(got.Error(), want) || strings.Contains(got.Error(), "either") {
			t.Errorf("got %v, want %s", got, want)
		}
		if len(*launched) != 1 {
			t.Errorf("%s: tried %d times", want, len(*launched))
		}
	}
}

// TestStandInFails: the first fault is the first in the message.
func TestStandInFails(t *testing.T) {
	n, logs := newNode(t), captureLogs(t)
	defer nodelocal.ConfigValid.Set(1)
	path := writeFile(t, n.dir, "Corefile.base", template)
	flags := "-localip 10.0.0.1 -basecorefile DIR/Corefile.base"
	s, _ := startOn(t, n, flags, refuseNone)
	if _, err := s.start(); err != nil {
		t.Fatal(err)
	}
	writeFile(t, n.dir, "Corefile.base", ".:53 {\n    nothing\n}\n")
	s, _ = startOn(t, n, flags, refuseWord("forward", errors.New("plugin/forward: as the test wants")))
	_, err := s.start()
	want := path + `:2: unknown directive "nothing"` + "\nthe last configuration that worked cannot run either: Corefile:6: forward: as the test wants"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	s, launched := startOn(t, n, flags+" -lease 5", refuseNone)
	if _, err := s.start(); err == nil || len(*launched) > 0 {
		t.Errorf("started what other flags have made: %v", err)
	}
	contains(t, logs.take(), "[WARNING] plugin/nodelocal: The last configuration that worked is not used: "+s.last.Path+": it was made for other flags")
	s, launched = startOn(t, n, flags, refuseNone)
	s.ending = func() bool { return true }
	if _, err := s.start(); err == nil || len(*launched) > 0 {
		t.Errorf("started at the end of the process: %v", err)
	}
}

// TestStandInTellsAllFaults has one in each key of the ConfigMap.
func TestStandInTellsAllFaults(t *testing.T) {
	n, logs := newNode(t), captureLogs(t)
	defer nodelocal.ConfigValid.Set(1)
	writeFile(t, n.dir, "Corefile.base", template)
	writeFile(t, n.dir, "upstreamNameservers", "8.8.8.8")
	writeFile(t, n.dir, "stubDomains", "{")
	s, _ := startOn(t, n, "-localip 10.0.0.1 -basecorefile DIR/Corefile.base -kubednscm DIR", refuseNone)
	if _, err := s.start(); err != nil {
		t.Fatal(err)
	}
	said := logs.take()
	contains(t, said, "Running what the files say without stubDomains and upstreamNameservers of the kube-dns ConfigMap, ", "/stubDomains:1:1: ", "/upstreamNameservers:1:4: ")
	if _, err := s.reload(rendering.ServerType); err == nil || logs.take() != "" {
		t.Errorf("said again, or no error: %v", err)
	}
}

// TestStandInIsNotKept: what stood in without the ConfigMap is not the last configuration that worked.
func TestStandInIsNotKept(t *testing.T) {
	n := newNode(t)
	captureLogs(t)
	defer nodelocal.ConfigValid.Set(1)
	writeFile(t, n.dir, "Corefile.base", template)
	writeFile(t, n.dir, "upstreamNameservers", "8.8.8.8")
	s, _ := startOn(t, n, "-localip 10.0.0.1 -basecorefile DIR/Corefile.base -kubednscm DIR", refuseNone)
	if _, err := s.start(); err != nil {
		t.Fatal(err)
	}
	if text, err := s.last.Read(); err == nil {
		t.Errorf("kept:\n%s", text)
	}
}

// TestKeeperWithoutNameservers has resolv.conf go bad while the cache runs: what is kept has the nameservers of before.
func TestKeeperWithoutNameservers(t *testing.T) {
	n, logs := newNode(t), captureLogs(t)
	defer nodelocal.ConfigValid.Set(1)
	path := filepath.Join(n.dir, "resolv.conf")
	writeFile(t, n.dir, "Corefile.base", ".:53 {\n    bind __PILLAR__LOCAL__DNS__\n    forward . "+path+"\n}\n")
	s, _ := startOn(t, n, "-localip 10.0.0.1 -basecorefile DIR/Corefile.base", refuseNone)
	if _, err := s.start(); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"search x\n", "nameserver 10.0.0.1\n", ""} { // the last: no file
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if text != "" {
			writeFile(t, n.dir, "resolv.conf", text)
		}
		if _, err := s.reload(rendering.ServerType); err != nil {
			t.Fatal(err)
		}
		kept, err := s.last.Read()
		if err != nil || !strings.Contains(string(kept), "forward . 192.0.2.53\n") {
			t.Errorf("%q: %v, kept:\n%s", text, err, kept)
		}
	}
	want := "[WARNING] plugin/nodelocal: Not keeping the configuration for the next start: no nameserver in " + path + " can be asked"
	if said := logs.take(); strings.Count(said, want) != 1 {
		t.Errorf("said %q", said)
	}
}

// TestExplained: a fault of the Corefile has a place in it, and a fault of the node's network has none.
func TestExplained(t *testing.T) {
	c := rendering.Corefile{Path: "Corefile", Text: []byte(".:53 {\n    prometheus 9253\n}\n")}
	for err, want := range map[error]string{
		errors.New("plugin/prometheus: address 9253: missing port in address"):                         `Corefile:2: prometheus 9253: "9253" lacks a port: want ADDRESS:PORT, or :PORT for all addresses`,
		fmt.Errorf("plugin/prometheus: %w", nodelocal.NetworkError{Err: errors.New("no such device")}): "plugin/prometheus: no such device",
		errors.New("Listen: listen tcp 10.0.0.1:53: bind: permission denied"):                          "listening on 10.0.0.1:53 (tcp): permission denied: this port needs root or CAP_NET_BIND_SERVICE",
	} {
		if got := explained(err, c, 53); got.Error() != want {
			t.Errorf("got  %v\nwant %s", got, want)
		}
	}
}
