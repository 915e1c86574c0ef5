// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"bytes"
	"errors"
	"fmt"
	stdlog "log"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
)

// A bench is a node on a fake host with a fake clock. It writes down what becomes of both.
type bench struct {
	t        *testing.T
	n        *node
	fake     *fakeNetwork // the one that was opened last
	begun    time.Time
	verdicts map[netip.Addr]verdict // of addresses on the link; without one: answered
	fails    map[string]failure     // of a network from when it is opened
	openErr  failure
	tableErr error
	guards   int
	mu       sync.Mutex // held over lines
	lines    []string
	last     string             // of them, without the time
	counted  map[string]float64 // before
}

// The addresses of the stories.
var (
	one, two = netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	both     = settingsOf("10.0.0.1 10.0.0.2")
)

// forever is beyond the end of a story.
const forever = time.Hour

// settingsOf has these addresses, with a space between.
func settingsOf(s string) settings {
	return settings{zone: "cluster.local.", options: options{Resync: 30 * time.Second, Config: hostnet.Config{
		Interface: "x", Link: hostnet.TUN, Firewall: hostnet.NFTables, Uplink: hostnet.UplinkAuto, Port: 53, Lease: 3 * time.Second, Addresses: addrs(s)}}}
}

// play runs a story, and compares what was done, logged and counted with a text. A line of it begins with the time.
func play(t *testing.T, want string, story func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, begun: time.Now(), verdicts: map[netip.Addr]verdict{}, counted: counts(t)}
		w, flags := stdlog.Writer(), stdlog.Flags()
		stdlog.SetOutput(b)
		stdlog.SetFlags(0)
		defer stdlog.SetFlags(flags)
		defer stdlog.SetOutput(w)
		b.n = use(t, newNode(b.host()))
		story(b)
		synctest.Wait()
		b.note("%s", b.changes())
		b.mu.Lock()
		got, want := strings.Join(b.lines, "\n"), trim(want)
		b.mu.Unlock()
		if strings.TrimSpace(got) != want {
			t.Errorf("got\n%s\n\nwant\n%s", got, want)
		}
		_ = Close() // what is wrong with that is for stories that close
		if b.guards != 0 {
			t.Errorf("%d guards go on", b.guards)
		}
	})
}

func trim(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// host returns the fake one.
func (b *bench) host() host {
	table := func(c hostnet.Config) ([]netip.Addr, error) {
		b.note("fallback table for %v", c.Fallback)
		return c.Fallback, b.tableErr
	}
	return host{
		open: func(c hostnet.Config) (network, error) {
			if time.Now().Before(b.openErr.until) {
				return nil, b.openErr.err
			}
			b.note("open: %v", c.Addresses)
			b.fake = newFakeNetwork(c, b.note)
			maps.Copy(b.fake.fails, b.fails)
			return b.fake, nil
		},
		early:          table,
		foresee:        table,
		removeFallback: func() error { b.note("fallback table removed"); return b.tableErr },
		turnHolder:     func() string { return "somebody holds it" },
		ask: func(all []netip.Addr, _ uint16, _, _ string) (verdicts []verdict) {
			for _, a := range all {
				v, ok := b.verdicts[a]
				if !ok {
					v = answered
				}
				if s := b.fake.states[a]; s == hostnet.Absent || s == hostnet.Forsaken {
					v = failed
				}
				verdicts = append(verdicts, v)
			}
			if slices.Contains(verdicts, failed) {
				time.Sleep(selfQueryTimeout)
			}
			return verdicts
		},
		isLocal: func(a netip.Addr) bool { return b.fake.left(a) > 0 },
		leases: func(all []netip.Addr) map[netip.Addr]time.Duration {
			left := map[netip.Addr]time.Duration{}
			for _, a := range all {
				if d := b.fake.left(a); d > 0 {
					left[a] = d
				}
			}
			return left
		},
		guard: func(port uint16) (func(), error) {
			if port == 0 {
				return nil, errors.New("no /proc")
			}
			b.guards++
			return func() { b.guards-- }, nil
		},
	}
}

// note writes a line, once if it comes again and again.
func (b *bench) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := fmt.Sprintf(format, args...)
	if text == b.last {
		return // again
	}
	b.last = text
	b.lines = append(b.lines, strings.TrimSpace(fmt.Sprintf("%s %s", time.Since(b.begun).Round(10*time.Millisecond), text)))
}

// Write takes lines of the log.
func (b *bench) Write(line []byte) (int, error) {
	text := strings.Replace(string(bytes.TrimSpace(line)), "plugin/nodelocal: ", "", 1)
	level, rest, _ := strings.Cut(strings.TrimPrefix(text, "["), "] ")
	b.note("%s: %s", strings.ToLower(level), rest)
	return len(line), nil
}

// do runs f with the node locked, as the fakes' fields need it.
func (b *bench) do(f func()) {
	b.n.busy.lock()
	defer b.n.busy.unlock()
	f()
}

// pass lets time pass, and the rounds come to rest.
func (b *bench) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// hear sets what the next self-queries to some addresses say.
func (b *bench) hear(v verdict, addrs ...netip.Addr) {
	b.do(func() {
		for _, a := range addrs {
			b.verdicts[a] = v
		}
	})
}

// fail has something fail for a time from now on.
func (b *bench) fail(what string, err error, d time.Duration) {
	b.do(func() { b.fake.fails[what] = failure{err, time.Now().Add(d)} })
}

// must fails the test on an error.
func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Error(err)
	}
}

// serve starts a configuration and lets its addresses settle.
func (b *bench) serve(s settings) {
	b.t.Helper()
	b.must(b.n.start(s))
	b.pass(settleTime + interval)
	if !b.n.ready.Load() {
		b.t.Errorf("not ready: %s", b.fake.show())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines, b.begun = nil, time.Now()
}

// counts reads the counters that reports count.
func counts(t *testing.T) map[string]float64 {
	t.Helper()
	all := map[string]float64{}
	for name, counter := range counters {
		if name == "self_queries" {
			continue
		}
		r := prometheus.NewRegistry()
		r.MustRegister(counter)
		families, err := r.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.Metric {
				all[strings.TrimSpace(name+" "+labelsOf(m))] = m.GetCounter().GetValue()
			}
		}
	}
	return all
}

func labelsOf(m *dto.Metric) string {
	var values []string
	for _, l := range m.Label {
		values = append(values, l.GetValue())
	}
	return strings.Join(values, " ")
}

// changes prints what was counted since the beginning.
func (b *bench) changes() string {
	var s []string
	now := counts(b.t)
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if n := now[name] - b.counted[name]; n > 0 {
			s = append(s, fmt.Sprintf("%s: %v", name, n))
		}
	}
	return "counted " + strings.Join(s, ", ")
}
