// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// process is the program while it runs.
type process struct {
	*exec.Cmd
	mu  sync.Mutex
	all strings.Builder // stdout and stderr
}

func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{Cmd: program(t, args...)}
	p.Stdout, p.Stderr = p, p
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all.Write(b)
}

func (p *process) said(part string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Contains(p.all.String(), part)
}

// stop sends sig and returns the exit code.
func (p *process) stop(t *testing.T, sig os.Signal) int {
	t.Helper()
	if err := p.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait() // the code is what counts
	return p.ProcessState.ExitCode()
}

// freePort returns a port of 127.0.0.1 that is free for UDP and TCP.
func freePort(t *testing.T) string {
	t.Helper()
	for range 20 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := ln.Addr().String()
		pc, err := net.ListenPacket("udp", addr)
		ln.Close()
		if err == nil {
			pc.Close()
			_, port, _ := net.SplitHostPort(addr)
			return port
		}
	}
	t.Fatal("no free port")
	return ""
}

// answer asks for the address of example.org.
func answer(port string) string {
	c := dns.Client{Timeout: time.Second}
	r, _, err := c.Exchange(new(dns.Msg).SetQuestion("example.org.", dns.TypeA), "127.0.0.1:"+port)
	if err != nil || len(r.Answer) == 0 {
		return ""
	}
	a, _ := r.Answer[0].(*dns.A)
	return a.A.String()
}

func awaitAnswer(t *testing.T, port, want string) {
	t.Helper()
	eventually(t, "answer "+want, func() bool { return answer(port) == want })
}

// answering is a Corefile that answers with addr.
func answering(key, addr, more string) string {
	return fmt.Sprintf("%s {\n    bind 127.0.0.1\n    hosts {\n        %s example.org\n    }\n    %s\n}\n", key, addr, more)
}

func TestRun(t *testing.T) {
	dir, port := t.TempDir(), freePort(t)
	conf, pid := writeFile(t, dir, "Corefile", answering(".", "192.0.2.1", "reload 2s 0s")), filepath.Join(dir, "pid")
	p := startProcess(t, "-conf", conf, "-p", port, "-pidfile", pid, "-metrics-listen-address=")
	awaitAnswer(t, port, "192.0.2.1")
	want := fmt.Sprintln(p.Process.Pid) // written when all servers serve, which is later than the first answer
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if got, err := os.ReadFile(pid); string(got) == want {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("pidfile has %q (%v), want %q", got, err, want)
		}
	}
	signal := func() {
		t.Helper()
		if err := p.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, dir, "Corefile", answering(".", "192.0.2.2", "reload 2s 0s"))
	signal()
	awaitAnswer(t, port, "192.0.2.2")
	writeFile(t, dir, "Corefile", answering(".", "192.0.2.3", "nonsense"))
	signal()
	eventually(t, "an error", func() bool {
		return p.said("Keeping the running configuration: " + conf + `:6: unknown directive "nonsense"`)
	})
	if got := answer(port); got != "192.0.2.2" {
		t.Errorf("answer %s after a bad configuration", got)
	}
	// The reload plugin still works after SIGUSR1; with caddy's handler it does not.
	writeFile(t, dir, "Corefile", answering(".", "192.0.2.4", "reload 2s 0s"))
	awaitAnswer(t, port, "192.0.2.4")
	if code := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(pid); err == nil {
		t.Error("the pidfile is left behind")
	}
	for _, line := range []string{"nodelocaldns dev (commit unknown), CoreDNS 1.15.0", "Configuration is valid again", "Shutting down: terminated"} {
		if !p.said(line) {
			t.Errorf("no %q in:\n%s", line, p.all.String())
		}
	}
}

// TestRunTemplate renders without owning anything of the network, which takes no privilege.
func TestRunTemplate(t *testing.T) {
	dir, port := t.TempDir(), freePort(t)
	base := writeFile(t, dir, "Corefile.base", answering(".", "192.0.2.1", "reload 2s 0s"))
	out := filepath.Join(dir, "Corefile")
	p := startProcess(t, "-localip", "127.0.0.1", "-basecorefile", base, "-conf", out, "-dns.port", port,
		"-setupinterface=false", "-setupiptables=false", "-metrics-listen-address=", "-quiet")
	awaitAnswer(t, port, "192.0.2.1")
	contains(t, readString(t, out), "link none", "192.0.2.1")
	writeFile(t, dir, "Corefile.base", answering(".", "192.0.2.2", "reload 2s 0s"))
	awaitAnswer(t, port, "192.0.2.2")
	contains(t, readString(t, out), "192.0.2.2")
	if code := p.stop(t, syscall.SIGINT); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if p.said("CoreDNS 1.15.0") {
		t.Error("not quiet")
	}
}

// TestRunLastGood starts with a template that was good before, mends it, and finds the change in effect without another start:
// with the reload plugin, which compares what it loads with the configuration that stands in.
func TestRunLastGood(t *testing.T) {
	dir, port, metrics := t.TempDir(), freePort(t), "127.0.0.1:"+freePort(t)
	text := func(addr, more string) string { return answering(".", addr, "reload 2s 0s\n    "+more) }
	base := writeFile(t, dir, "Corefile.base", text("192.0.2.1", ""))
	start := func() *process {
		return startProcess(t, "-localip", "127.0.0.1", "-basecorefile", base, "-dns.port", port, "-statedir", dir+"/state",
			"-setupinterface=false", "-setupiptables=false", "-metrics-listen-address", metrics, "-quiet")
	}
	valid := func(want string) {
		t.Helper()
		eventually(t, "config_valid "+want, func() bool { return strings.Contains(page(metrics), "\ncoredns_nodelocal_config_valid "+want+"\n") })
	}
	p := start()
	awaitAnswer(t, port, "192.0.2.1")
	valid("1")
	p.stop(t, syscall.SIGKILL)
	for _, broken := range []struct{ more, fault string }{
		{"nonsense", base + `:7: unknown directive "nonsense"`}, // found before the start
		{"forward .", base + ":7: forward .: arguments are"},    // by the start
	} {
		writeFile(t, dir, "Corefile.base", text("192.0.2.2", broken.more))
		p = start()
		awaitAnswer(t, port, "192.0.2.1")
		valid("0")
		eventually(t, "an error", func() bool {
			return p.said("[ERROR] plugin/nodelocal: Running the last configuration that worked, as the configuration cannot be used: " + broken.fault)
		})
		writeFile(t, dir, "Corefile.base", text("192.0.2.3", ""))
		awaitAnswer(t, port, "192.0.2.3")
		valid("1")
		writeFile(t, dir, "Corefile.base", text("192.0.2.1", ""))
		awaitAnswer(t, port, "192.0.2.1")
		valid("1")
		writeFile(t, dir, "Corefile.base", text("192.0.2.1", "cache {\n        prefetch 5 5\n    }"))
		eventually(t, "a reload that is refused", func() bool {
			return p.said("[ERROR] plugin/nodelocal: Keeping the running configuration: " + base + ":8: cache: prefetch 5 5: a duration needs a unit, such as 5s")
		})
		if code := p.stop(t, syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
}

// page is what the metrics endpoint says.
func page(addr string) string {
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return ""
	}
	return string(text)
}

// TestRunWithoutStateDir cannot make its directory: that is one warning, and no reason not to serve.
func TestRunWithoutStateDir(t *testing.T) {
	dir, port := t.TempDir(), freePort(t)
	conf := writeFile(t, dir, "Corefile", answering(".", "192.0.2.1", "reload 2s 0s"))
	p := startProcess(t, "-conf", conf, "-p", port, "-statedir", conf+"/state", "-metrics-listen-address=")
	awaitAnswer(t, port, "192.0.2.1")
	eventually(t, "a warning", func() bool {
		return p.said("[WARNING] plugin/nodelocal: Nothing is kept for the next start, and nodelocaldns status gets no answer (-statedir): ")
	})
	if code := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if strings.Count(p.all.String(), "WARNING") != 1 {
		t.Errorf("not one warning:\n%s", p.all.String())
	}
}

// TestRunWrongBind starts with an address that no interface has, where another text was good before.
func TestRunWrongBind(t *testing.T) {
	dir, port := t.TempDir(), freePort(t)
	text := func(bind, addr string) string {
		return strings.ReplaceAll(answering(".", addr, "reload 2s 0s"), "bind 127.0.0.1", "bind 127.0.0.1"+bind)
	}
	conf := writeFile(t, dir, "Corefile", text("", "192.0.2.1"))
	start := func() *process {
		p := startProcess(t, "-conf", conf, "-p", port, "-statedir", dir+"/state", "-metrics-listen-address=")
		awaitAnswer(t, port, "192.0.2.1")
		return p
	}
	p := start()
	eventually(t, "a file", func() bool {
		_, err := os.Stat(dir + "/state/Corefile.last-good")
		return err == nil
	})
	p.stop(t, syscall.SIGKILL)
	writeFile(t, dir, "Corefile", text(" 192.0.2.9", "192.0.2.2"))
	p = start()
	const running = "Running the last configuration that worked, as the configuration cannot be used: "
	eventually(t, "an error", func() bool {
		return p.said(running + conf + ":2: bind 192.0.2.9: no interface has this address, and no nodelocal stanza names it")
	})
	writeFile(t, dir, "Corefile", text("", "192.0.2.3"))
	awaitAnswer(t, port, "192.0.2.3")
	if code := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
