// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// gauge reads a metric of a process.
func gauge(t *testing.T, port, name string) (value float64) {
	t.Helper()
	eventually(t, name, func() bool {
		resp, err := http.Get("http://127.0.0.1:" + port + "/metrics")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		page, err := io.ReadAll(resp.Body)
		_, rest, found := strings.Cut(string(page), "\n"+name+" ")
		if err != nil || !found {
			return false
		}
		_, err = fmt.Sscan(rest, &value)
		return err == nil
	})
	return value
}

// TestProcessMemory starts the program with limits: Go keeps to nine tenths of them, and the log says what it means for the caches.
func TestProcessMemory(t *testing.T) {
	for _, tt := range []struct {
		flags, env string
		want       float64 // go_gc_gomemlimit_bytes
		said       string
	}{
		{"-memory 1Gi", "", 966367638, "[INFO] plugin/nodelocal: Memory limit 1024Mi: caches whose size is not given have 750 % of the usual one"},
		{"-memory 64Mi", "", 60397974, "[WARNING] plugin/nodelocal: The memory limit of 64Mi is small: the caches have 6 % of their usual sizes, and a flood of queries may end in an OOM kill; give 96Mi at least (-memory, or the container's limit), better 192Mi"},
		{"-memory 64Mi", "GOMEMLIMIT=180MiB", 188743680, "[INFO] plugin/nodelocal: Memory limit 200Mi: caches whose size is not given have 106 % of the usual one"},
	} {
		t.Run(tt.flags+" "+tt.env, func(t *testing.T) {
			port, metrics := freePort(t), freePort(t)
			conf := writeFile(t, t.TempDir(), "Corefile", answering(".", "192.0.2.1", ""))
			p := &process{Cmd: program(t, append(split(tt.flags), "-conf", conf, "-p", port, "-metrics-listen-address", "127.0.0.1:"+metrics)...)}
			p.Stdout, p.Stderr, p.Env = p, p, append(p.Env, "GOMEMLIMIT=", tt.env)
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			awaitAnswer(t, port, "192.0.2.1")
			if got := gauge(t, metrics, "go_gc_gomemlimit_bytes"); got != tt.want {
				t.Errorf("limit %.0f, want %.0f", got, tt.want)
			}
			if code := p.stop(t, syscall.SIGTERM); code != 0 || !p.said(tt.said) {
				t.Errorf("exit code %d, and no %q in:\n%s", code, tt.said, p.all.String())
			}
		})
	}
}

// TestFileLimit starts the program with a soft limit that is lower than the hard one. Go raises it at the start,
// to the hard limit less one (package os).
func TestFileLimit(t *testing.T) {
	port, metrics := freePort(t), freePort(t)
	conf := writeFile(t, t.TempDir(), "Corefile", answering(".", "192.0.2.1", ""))
	plain := program(t, "-conf", conf, "-p", port, "-metrics-listen-address", "127.0.0.1:"+metrics)
	p := &process{Cmd: exec.CommandContext(t.Context(), "sh", append([]string{"-c", `ulimit -S -n 256 && ulimit -H -n 4096 && exec "$0" "$@"`}, plain.Args...)...)}
	p.Stdout, p.Stderr, p.Env, p.Dir = p, p, plain.Env, plain.Dir
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	awaitAnswer(t, port, "192.0.2.1")
	if got := gauge(t, metrics, "process_max_fds"); got < 4095 {
		t.Errorf("limit %g, want that of 4096:\n%s", got, p.all.String())
	}
	if code := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
