// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coredns/caddy"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/nodelocaldns/nodelocaldns/cmd/nodelocaldns/internal/rendering"
	"github.com/nodelocaldns/nodelocaldns/plugin/nodelocal"
)

// mustStart starts the configuration called 1.
func mustStart(t *testing.T, l *lifecycle) *caddy.Instance {
	t.Helper()
	inst, err := caddy.Start(config("1"))
	if err != nil {
		t.Fatal(err)
	}
	if l.current.Load() != inst {
		t.Fatal("the instance is not the current one")
	}
	serving(t, inst)
	return inst
}

// serving waits until inst answers: a server of package dns that is stopped
// before it runs does not stop.
func serving(t *testing.T, inst *caddy.Instance) {
	t.Helper()
	for _, s := range inst.Servers() {
		eventually(t, "an answer over UDP", func() bool { return answers("udp", s.LocalAddr().String()) })
		eventually(t, "an answer over TCP", func() bool { return answers("tcp", s.Addr().String()) })
	}
}

func answers(network, addr string) bool {
	c := dns.Client{Net: network, Timeout: time.Second}
	_, _, err := c.Exchange(new(dns.Msg).SetQuestion("example.org.", dns.TypeA), addr)
	return err == nil
}

// running returns the one instance that runs.
func running(t *testing.T) *caddy.Instance {
	t.Helper()
	if n := len(caddy.Instances()); n != 1 {
		t.Fatalf("%d instances run, want 1", n)
	}
	return caddy.Instances()[0]
}

func TestReloads(t *testing.T) {
	l, p := newLife(t)
	captureLogs(t)
	succeeded := nodelocal.ConfigReloads.WithLabelValues("success")
	failed := nodelocal.ConfigReloads.WithLabelValues("error")
	var first *caddy.Instance
	if n := counted(t, succeeded, func() { first = mustStart(t, l) }); n != 0 {
		t.Errorf("the start counts as %d reloads", n)
	}
	addr := first.Servers()[0].LocalAddr().String()
	done := make(chan struct{})
	go func() { defer close(done); l.serveReloads(loads("2", "bad", "3")) }()

	reload := func(want string) {
		ask(l.reloads)
		var seen []string
		eventually(t, want, func() bool { seen = append(seen, p.events()...); return slices.Contains(seen, want) })
		l.busy <- struct{}{} // the reload is over
		<-l.busy
	}
	if n := counted(t, succeeded, func() {
		if n := counted(t, reloadFailed, func() { reload("shutdown 1") }); n != 0 {
			t.Errorf("a reload counts as %d refused", n)
		}
	}); n != 1 {
		t.Errorf("a reload counts as %d", n)
	}
	p.do("startup bad", fail)
	second := l.current.Load()
	if n := counted(t, failed, func() {
		if n := counted(t, reloadFailed, func() { reload("failed 2") }); n != 1 {
			t.Errorf("a failed reload counts as %d in the reload plugin's metric", n)
		}
	}); n != 1 {
		t.Errorf("a failed reload counts as %d", n)
	}
	if l.current.Load() != second || running(t) != second {
		t.Error("after a failed reload another instance is the current one")
	}
	reload("shutdown 2")
	if got := running(t); got != l.current.Load() || got == second {
		t.Error("the third configuration does not run")
	} else if got := got.Servers()[0].LocalAddr().String(); got != addr {
		t.Errorf("serving at %s, and not at %s as before", got, addr)
	}
	l.end()
	<-done
}

// TestReloadFailedIsThePlugins: the counter is the one that /metrics has under the name that the reload plugin gave it.
func TestReloadFailedIsThePlugins(t *testing.T) {
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == "coredns_reload_failed_total" })
	if i < 0 {
		t.Fatal("no coredns_reload_failed_total in the registry")
	}
	shown := families[i].GetMetric()[0].GetCounter().GetValue()
	countRefused()
	if families, err = prometheus.DefaultGatherer.Gather(); err != nil {
		t.Fatal(err)
	}
	if got := families[i].GetMetric()[0].GetCounter().GetValue(); got != shown+1 {
		t.Errorf("a refused configuration moved coredns_reload_failed_total from %g to %g", shown, got)
	}
}

// TestReloadVersionIsThePlugins: after a reload the gauge of the plugin reload has one series, and another one for another Corefile.
func TestReloadVersionIsThePlugins(t *testing.T) {
	l, _ := newLife(t)
	captureLogs(t)
	mustStart(t, l)
	var seen []string
	for _, text := range []string{"theirs", "ours"} {
		l.restart(config(text))
		families, err := prometheus.DefaultGatherer.Gather()
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == "coredns_reload_version_info" })
		if i < 0 || len(families[i].GetMetric()) != 1 {
			t.Fatalf("want one series: %v", families[max(i, 0)])
		}
		seen = append(seen, families[i].GetMetric()[0].String())
	}
	if seen[0] == seen[1] {
		t.Errorf("the same hash for two configurations: %s", seen[0])
	}
}

// TestRestartsAtOnce lets several parties restart at the same time. Each has loaded before it restarts.
func TestRestartsAtOnce(t *testing.T) {
	l, p := newLife(t)
	captureLogs(t)
	mustStart(t, l)
	n := counted(t, nodelocal.ConfigReloads.WithLabelValues("success"), func() {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { l.restart(config("theirs")) })
			wg.Go(func() { l.restart(config("ours")) })
		}
		wg.Wait()
	})
	if running(t) != l.current.Load() {
		t.Error("the current instance does not run")
	}
	started := 0
	for _, e := range p.events() {
		if e == "startup theirs" || e == "startup ours" {
			started++
		}
		if e == "failed 1" || e == "failed ours" || e == "failed theirs" {
			t.Error("a restart failed")
		}
	}
	if n != started || n != 8 {
		t.Errorf("counted %d reloads; %d configurations started", n, started)
	}
}

// TestShutdownErrorInRestart is about an OnShutdown callback that fails after
// the new servers have taken over, as pprof's does while a profile is taken.
func TestShutdownErrorInRestart(t *testing.T) {
	l, p := newLife(t)
	captureLogs(t)
	first := mustStart(t, l)
	p.do("shutdown 1", fail)
	if n := counted(t, reloadFailed, func() { l.restart(config("2")) }); n != 0 {
		t.Errorf("a configuration that serves counts as %d refused", n)
	}
	second := running(t)
	if second == first || l.current.Load() != second {
		t.Error("the new instance is not the current one")
	}
	if l.restart(config("3")); running(t) == second {
		t.Error("no restart after that")
	}
}

func TestNoRestartAtTheEnd(t *testing.T) {
	l, p := newLife(t)
	captureLogs(t)
	inst := mustStart(t, l)
	if !l.end() || l.end() {
		t.Error("end has to be true once")
	}
	if l.restart(config("2")); running(t) != inst {
		t.Error("restarted although the process ends")
	}
	if got := p.events(); !slices.Equal(got, []string{"startup 1"}) {
		t.Errorf("callbacks: %q", got)
	}
}

// TestLook: the reload plugin gets nothing to restart with, before and after the start, and asks the watch.
func TestLook(t *testing.T) {
	l, _ := newLife(t)
	for range 2 {
		if input, err := l.look(rendering.ServerType); err == nil || input != nil {
			t.Error("the reload plugin has a configuration")
		}
		select {
		case <-l.changes:
		default:
			t.Error("the watch was not asked")
		}
		if l.current.Load() == nil {
			mustStart(t, l)
		}
	}
}

// watching has a lifecycle watch a loader, and returns how to say what it gives and whether the next look asks for a reload.
func watching(t *testing.T, l *lifecycle, always bool) (set func(caddy.Input, error), look func() bool) {
	t.Helper()
	var mu sync.Mutex
	var input caddy.Input
	var err error
	tick, done := make(chan time.Time), make(chan struct{})
	load := func(string) (caddy.Input, error) {
		mu.Lock()
		defer mu.Unlock()
		return input, err
	}
	go func() { defer close(done); l.watch(load, tick, always) }()
	t.Cleanup(func() { l.end(); <-done })
	set = func(i caddy.Input, e error) { mu.Lock(); defer mu.Unlock(); input, err = i, e }
	return set, func() bool {
		tick <- time.Time{}
		tick <- time.Time{} // the look of before has ended
		select {
		case <-l.reloads:
			return true
		default:
			return false
		}
	}
}

func TestWatch(t *testing.T) {
	l, _ := newLife(t)
	captureLogs(t)
	mustStart(t, l)
	set, look := watching(t, l, true)
	for _, tt := range []struct {
		name  string
		input caddy.Input
		err   error
		want  bool
	}{
		{"what runs", config("1"), nil, false},
		{"an error", nil, errors.New("half written"), false},
		{"a change", config("2"), nil, true},
		{"the same change, which was refused", config("2"), nil, false},
		{"what runs again", config("1"), nil, false},
		{"the refused change again", config("2"), nil, true},
	} {
		if set(tt.input, tt.err); look() != tt.want {
			t.Errorf("%s: asks for a reload: %t", tt.name, !tt.want)
		}
	}
	if l.restart(config("4")); !look() {
		t.Error("with another instance the text is new, as that instance has begun since")
	}
}

// TestWatchFollowsImports: the text stays, and the file that it imports changes.
func TestWatchFollowsImports(t *testing.T) {
	l, _ := newLife(t)
	captureLogs(t)
	dir := t.TempDir()
	imported := writeFile(t, dir, "part", "whoami\n")
	input := caddy.CaddyfileInput{Filepath: filepath.Join(dir, "Corefile"), ServerTypeName: rendering.ServerType,
		Contents: fmt.Appendf(nil, ".:0 {\n    bind 127.0.0.1\n    probe 1\n    import %s\n}\n", imported)}
	inst, err := caddy.Start(input)
	if err != nil {
		t.Fatal(err)
	}
	serving(t, inst)
	set, look := watching(t, l, true)
	if set(input, nil); look() {
		t.Error("a reload of what runs")
	}
	writeFile(t, dir, "part", "whoami\nlog\n")
	if !look() {
		t.Error("no reload after a change of an imported file")
	}
	if look() {
		t.Error("the same change is tried twice")
	}
	if l.restart(input); look() {
		t.Error("a reload of what runs after a reload")
	}
}

// TestReloadInAnImport: a Corefile whose reload is in a file that it imports is followed, also while that file is broken.
func TestReloadInAnImport(t *testing.T) {
	l, _ := newLife(t)
	captureLogs(t)
	dir := t.TempDir()
	imported := writeFile(t, dir, "part", "reload 1h\n")
	input := caddy.CaddyfileInput{Filepath: filepath.Join(dir, "Corefile"), ServerTypeName: rendering.ServerType,
		Contents: fmt.Appendf(nil, ".:0 {\n    bind 127.0.0.1\n    probe 1\n    import %s\n}\n", imported)}
	inst, err := caddy.Start(input)
	if err != nil {
		t.Fatal(err)
	}
	serving(t, inst)
	set, look := watching(t, l, false)
	set(input, nil)
	for _, text := range []string{"reload 2h\n", "reload {\n", "whoami\n"} {
		if writeFile(t, dir, "part", text); !look() {
			t.Errorf("no look after the change to %q", text)
		}
	}
}

// TestBegins: what is about to run is not asked for again, and what runs is only reloaded if a signal asks.
func TestBegins(t *testing.T) {
	l := newLifecycle(new(validity))
	l.runs = identity(config("runs"))
	for _, c := range []struct {
		text              string
		forced, want, new bool
	}{{"runs", false, false, false}, {"runs", true, true, false}, {"next", false, true, false}, {"other", true, true, false}} {
		if got := l.begins(config(c.text), c.forced); got != c.want {
			t.Errorf("%+v: begins %t", c, got)
		}
		if got := l.isNew(config(c.text)); got != c.new {
			t.Errorf("%+v: new %t", c, got)
		}
	}
}

// TestWatchWaits: what changes during the start is looked at as soon as an instance serves; what changes during a reload, after it.
func TestWatchWaits(t *testing.T) {
	l, _ := newLife(t)
	captureLogs(t)
	set, _ := watching(t, l, true)
	set(config("2"), nil)
	ask(l.changes)
	mustStart(t, l)
	<-l.reloads
	set(config("3"), nil)
	l.restart(config("2"))
	<-l.reloads
}

// TestWatchLeavesAlone: without the reload plugin and -reloadwithsignal nothing is reloaded but by a signal.
func TestWatchLeavesAlone(t *testing.T) {
	l, _ := newLife(t)
	captureLogs(t)
	mustStart(t, l)
	tick, done := make(chan time.Time), make(chan struct{})
	go func() { defer close(done); l.watch(loads("2"), tick, false) }()
	tick <- time.Time{}
	l.end()
	<-done
	if len(l.reloads) > 0 {
		t.Error("asks for a reload")
	}
}
