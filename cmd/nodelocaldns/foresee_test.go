// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestForeseen: what the fallback table is made for is what the rendered stanza says, without reading a file.
func TestForeseen(t *testing.T) {
	for _, tt := range []struct {
		flags, kubeDNS, upstream string
		addrs, fallback          string // empty: no table
	}{
		{"", "10.96.0.10", "", "169.254.20.10", "10.96.0.10"},
		{"", "", "", "169.254.20.10", ""},
		{"-localip 169.254.20.10,10.96.0.10", "10.96.0.10", "10.96.0.11", "169.254.20.10 10.96.0.10", "10.96.0.10"},
		{"-localip 169.254.20.10 -upstreamsvc up", "", "10.96.0.11", "169.254.20.10", "10.96.0.11"},
		{"-localip 169.254.20.10 -upstreamsvc up", "x", "10.96.0.11", "169.254.20.10", "10.96.0.11"},
		{"-localip 169.254.20.10 -fallback 10.96.0.12", "10.96.0.10", "", "169.254.20.10", "10.96.0.12"},
		{"-localip 169.254.20.10 -fallback none", "10.96.0.10", "", "169.254.20.10", ""},
		{"-localip 169.254.20.10 -firewall none", "10.96.0.10", "", "169.254.20.10", ""},
		{"-localip 169.254.20.10 -firewall none -fallback 10.96.0.12", "", "", "169.254.20.10", "10.96.0.12"},
		{"-localip 169.254.20.10 -firewall none -link none -fallback 10.96.0.12", "", "", "", ""},
		{"-localip 169.254.20.10", "fd00::10", "", "169.254.20.10", ""},
		{"-conf own", "10.96.0.10", "", "", ""},
		{"-localip auto", "10.96.0.10", "", "169.254.20.10", "10.96.0.10"},
		{"-localip auto -upstreamsvc up", "x", "10.96.0.11", "169.254.20.10", "10.96.0.11"},
		{"-localip auto -fallback 10.96.0.12", "", "", "169.254.20.10", "10.96.0.12"},
		{"-localip auto -fallback none", "10.96.0.10", "", "169.254.20.10", ""},
		{"-localip auto -firewall none -link none", "10.96.0.10", "", "", ""},
		{"-localip auto", "fd00::10", "", "", ""}, // 169.254.20.10 is none of its addresses
		{"-localip auto -fallback 10.96.0.12", "fd00::10", "", "", ""},
	} {
		n := newNode(t)
		n.env["KUBE_DNS_SERVICE_HOST"], n.env["UP_SERVICE_HOST"] = tt.kubeDNS, tt.upstream
		l := n.loader(t, tt.flags)
		c, ok := l.foreseen()
		if join(c.Addresses) != tt.addrs || join(c.Fallback) != tt.fallback || ok != (tt.addrs != "") {
			t.Errorf("%s: %t, %v by %v", tt.flags, ok, c.Addresses, c.Fallback)
		}
		if l.opts.auto && len(l.opts.localIPs) > 0 {
			t.Errorf("%s: resolved to %v", tt.flags, l.opts.localIPs)
		}
		if ok && (c.Port != 53 || c.FallbackZone != 20 || c.Interface != "nodelocaldns") {
			t.Errorf("%s: %+v", tt.flags, c)
		}
	}
}

// TestForeseenOfAuto: once -localip auto is resolved, the table is for the addresses that were found.
func TestForeseenOfAuto(t *testing.T) {
	l := newNode(t).loader(t, "-localip auto")
	l.opts.localIPs = []netip.Addr{standaloneIP, netip.MustParseAddr("10.96.0.10")}
	if c, ok := l.foreseen(); !ok || join(c.Addresses) != "169.254.20.10 10.96.0.10" {
		t.Errorf("%t, %v", ok, c.Addresses)
	}
}

// inNamespace moves the test, and the processes that it starts, to a network namespace of its own.
func inNamespace(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	runtime.LockOSThread() // never unlocked: the thread is not to be used again
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("making a network namespace: %v", err)
	}
}

func ruleset(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// TestRunForeseesAuto has the table while -localip auto waits for kube-proxy, and after it has failed.
func TestRunForeseesAuto(t *testing.T) {
	const target = "ip daddr set 10.96.0.11"
	inNamespace(t)
	waits := &process{Cmd: program(t, "-localip", "auto", "-metrics-listen-address=")}
	waits.Env = append(waits.Env, "KUBE_DNS_SERVICE_HOST=10.96.0.11")
	waits.Stdout, waits.Stderr = waits, waits
	if err := waits.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a line", func() bool { return waits.said("Waiting up to 10s for kube-proxy") })
	if out := ruleset(t); !strings.Contains(out, target) {
		t.Errorf("no table while it waits:\n%s", out)
	}
	waits.stop(t, syscall.SIGKILL)
	if out, err := exec.Command("nft", "flush", "ruleset").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	fails := program(t, "-localip", "auto", "-fallback", "10.96.0.11")
	fails.Env = append(fails.Env, "KUBE_DNS_SERVICE_HOST=nonsense")
	out, err := fails.CombinedOutput()
	if err == nil {
		t.Fatal("it has not failed")
	}
	contains(t, string(out), "Left on the node: the fallback table", `"nonsense" is not an IP address`)
	if out := ruleset(t); !strings.Contains(out, target) {
		t.Errorf("no table after it has failed:\n%s", out)
	}
}
