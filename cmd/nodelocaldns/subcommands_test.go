// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"strings"
	"syscall"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/internal/status"
)

func TestKubeletDNSCommandErrors(t *testing.T) {
	for args, want := range map[string]string{
		"-config /none/config.yaml": "reading the kubelet's configuration: open /none/config.yaml: no such file or directory\n",
		"-address x":                `invalid value "x" for flag -address: "x" is not an IP address; see nodelocaldns -help` + "\n",
		"-undo false":               `unexpected argument "false": write -undo=false; see nodelocaldns -help` + "\n",
		"on":                        `unexpected argument "on"; see nodelocaldns -help` + "\n",
	} {
		_, stderr, code := result(t, program(t, append([]string{"kubelet-dns"}, strings.Fields(args)...)...))
		if stderr != "nodelocaldns: "+want || code == 0 {
			t.Errorf("%s: exit code %d: %s", args, code, stderr)
		}
	}
}

func TestWait(t *testing.T) {
	cmd := program(t, "wait")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "waiting for SIGTERM\n" {
		t.Error(line, err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if _, stderr, code := result(t, program(t, "wait", "1")); code != exitUsage {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// TestTop reads two tables.
func TestTop(t *testing.T) {
	dir := t.TempDir()
	defer status.Provide("busiest", func(r *status.Report) { r.Busiest = &status.Busiest{Seconds: 10, Queries: 30} })()
	s, err := status.Serve(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cmd := program(t, "top", "-statedir", dir, "-interval", "100ms")
	cmd.Env = append(cmd.Env, "PATH=") // no kubectl
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tables := 0
	for lines := bufio.NewScanner(stdout); tables < 2 && lines.Scan(); {
		if lines.Text() == "3.0 queries/s in the last 10.0 s" {
			tables++
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil || tables < 2 {
		t.Errorf("%d tables; %v", tables, err)
	}
	_ = cmd.Wait() // ended by the signal
}
