// SPDX-License-Identifier: Apache-2.0

package statuscmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
	"github.com/nodelocaldns/nodelocaldns/internal/status"
)

func run(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	var b bytes.Buffer
	code, err := Run(args, &b)
	if err != nil {
		t.Errorf("%v: %v", args, err)
	}
	return code, b.String()
}

// TestRun asks processes: one with which all is well, one that hangs, and none.
func TestRun(t *testing.T) {
	nettest.InNamespace(t)
	dir := t.TempDir()
	withdraw := status.Provide("test", func(r *status.Report) {
		when := r.Time
		*r = steering()
		r.Time, r.Node.Looked = when, when
	})
	defer withdraw()
	s, err := status.Serve(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if code, out := run(t, "-statedir", dir); code != allWell || !strings.HasPrefix(out, "All well: 169.254.20.10 and 10.96.0.10 are steered to the cache\n\nProcess ") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	var all []instance
	code, out := run(t, "-statedir", dir, "-o", "json")
	if err := json.Unmarshal([]byte(out), &all); err != nil || code != allWell || len(all) != 1 || all[0].Faults == nil || all[0].Node.Addresses[0].Address != own {
		t.Errorf("exit code %d, %v:\n%s", code, err, out)
	}

	path := filepath.Join(dir, "status-2.sock")
	hung, err := net.Listen("unix", path) // nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	defer hung.Close()
	begin := time.Now()
	code, out = run(t, "-statedir", dir)
	want := fmt.Sprintf("Degraded: the process at %s hangs: it has not answered within 3s\n", path)
	if took := time.Since(begin); code != degraded || !strings.HasPrefix(out, want) || took > 10*time.Second {
		t.Errorf("exit code %d after %s:\n%s", code, took, out)
	}

	for _, absent := range []string{filepath.Join(dir, "absent"), t.TempDir()} {
		code, out = run(t, "-statedir", absent)
		want := "No cache runs on this node, and " + absent + " has no socket of one (-statedir)\n\nThe kernel says:\n  there is no link, rule or table of a cache\n  nobody listens at port 53\n"
		if code != noInstance || out != want {
			t.Errorf("exit code %d:\n%s", code, out)
		}
		if code, out = run(t, "-statedir", absent, "-o", "json"); code != noInstance || out != "[]\n" {
			t.Errorf("exit code %d: %s", code, out)
		}
	}
}

// TestNotADirectory is about what cannot be looked into.
func TestNotADirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, err := Run([]string{"-statedir", path}, new(bytes.Buffer)); code != degraded || err == nil || !strings.HasPrefix(err.Error(), "looking for caches: ") {
		t.Errorf("exit code %d, %v", code, err)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"-o", "yaml"}, {"all"}, {"-json"}} {
		if _, err := Run(args, new(bytes.Buffer)); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
	if code, out := run(t, "-help"); code != 0 || !strings.HasPrefix(out, "Usage:\n  nodelocaldns status ") || !strings.Contains(out, "-statedir DIR") {
		t.Errorf("exit code %d: %s", code, out)
	}
}

// TestCaches reads the counters under the names that the plugins give them.
func TestCaches(t *testing.T) {
	reg := prometheus.NewRegistry()
	count := func(name string, values ...any) {
		vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: "help"}, []string{"kind"})
		reg.MustRegister(vec)
		for i := 0; i < len(values); i += 2 {
			vec.WithLabelValues(values[i].(string)).Add(float64(values[i+1].(int)))
		}
	}
	count("coredns_packetcache_hits_total", "a", 7, "b", 2)
	count("coredns_packetcache_misses_total", "a", 3)
	count("coredns_cache_requests_total", "a", 20, "b", 10)
	count("coredns_cache_hits_total", "success", 8, "denial", 9)
	count("coredns_cache_served_stale_total", "a", 4)
	count("coredns_keep_requests_total", "a", 13)
	count("coredns_keep_hits_total", "fresh", 5, "stale", 6)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	want := "[{packetcache 9 3 0} {cache 17 13 4} {keep 11 2 6}]"
	if got := fmt.Sprint(cachesOf(families)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	var r status.Report
	if Caches(&r); len(r.Caches) != 3 {
		t.Errorf("%+v", r.Caches)
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0s", 80 * time.Millisecond: "0.1s", 2400 * time.Millisecond: "2.4s", 12 * time.Second: "12s", time.Minute: "1m",
		192 * time.Second: "3m12s", time.Hour: "1h", 125*time.Minute + 3*time.Second: "2h5m", 99 * time.Hour: "4d3h",
	} {
		if got := span(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}
