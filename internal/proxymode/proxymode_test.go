// SPDX-License-Identifier: Apache-2.0

package proxymode

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

func TestDetectProxyMode(t *testing.T) {
	const (
		ipvs       = "ip link add kube-ipvs0 type bridge"
		cilium     = "ip link add cilium_host type bridge"
		nftables   = "nft add table ip kube-proxy"
		nftables6  = "nft add table ip6 kube-proxy"
		nft        = "iptables-nft -t nat -N KUBE-SVC-TCOU7JCQXEZGVUNU"
		nft6       = "ip6tables-nft -t nat -N KUBE-SVC-TCOU7JCQXEZGVUNU"
		nftIPVS    = "iptables-nft -t nat -N KUBE-SERVICES"
		legacy     = "iptables-legacy -t nat -N KUBE-SVC-TCOU7JCQXEZGVUNU"
		legacy6    = "ip6tables-legacy -t nat -N KUBE-SVC-TCOU7JCQXEZGVUNU"
		legacyIPVS = "iptables-legacy -t nat -N KUBE-SERVICES"
	)
	for name, test := range map[string]struct {
		host []string
		want Mode
	}{
		"nothing":                          {nil, None},
		"IPVS":                             {[]string{ipvs}, IPVS},
		"IPVS with its iptables rules":     {[]string{ipvs, nftIPVS}, IPVS},
		"IPVS, left by another mode":       {[]string{ipvs, nft, nftables}, IPVS},
		"nftables":                         {[]string{nftables}, NFTables},
		"nftables, IPv6":                   {[]string{nftables6}, NFTables},
		"nftables of somebody else":        {[]string{"nft add table ip kube-proxy-not", "nft add table inet kube-proxy"}, None},
		"iptables-nft":                     {[]string{nft}, IPTables},
		"iptables-nft, IPv6":               {[]string{nft6}, IPTables},
		"iptables-legacy":                  {[]string{legacy}, IPTables},
		"iptables-legacy, IPv6":            {[]string{legacy6}, IPTables},
		"not up yet":                       {[]string{nftIPVS, legacyIPVS}, None},
		"a chain of another table":         {[]string{"iptables-nft -t mangle -N KUBE-SVC-X", "iptables-legacy -t mangle -N KUBE-SVC-X"}, None},
		"a chain named like a Service's":   {[]string{"iptables-nft -t nat -N MY-KUBE-SVC-X", "iptables-legacy -t nat -N MY-KUBE-SVC-X"}, None},
		"Cilium":                           {[]string{cilium}, Cilium},
		"Cilium beside kube-proxy":         {[]string{cilium, legacy}, IPTables},
		"Cilium beside kube-proxy in IPVS": {[]string{cilium, ipvs}, IPVS},
	} {
		t.Run(name, func(t *testing.T) {
			nettest.InNamespace(t)
			t.Setenv("XTABLES_LOCKFILE", filepath.Join(t.TempDir(), "xtables.lock"))
			for _, line := range test.host {
				nettest.Command(t, "sh", "-c", line)
			}
			if got := Detect(); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// The command of the old interface may have no second name, or not be there.
func TestDetectProxyModePlain(t *testing.T) {
	for _, test := range []struct {
		name, multi string
		want        Mode
	}{{"legacy", "xtables-legacy-multi", IPTables}, {"nft", "xtables-nft-multi", None}, {"not installed", "", None}} {
		t.Run(test.name, func(t *testing.T) {
			nettest.InNamespace(t)
			nettest.Command(t, "iptables-legacy", "-t", "nat", "-N", "KUBE-SVC-X")
			dir := t.TempDir()
			for _, name := range []string{"iptables", "iptables-save"} {
				if target, err := exec.LookPath(test.multi); err == nil {
					if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
						t.Fatal(err)
					}
				}
			}
			t.Setenv("PATH", dir)
			if got := Detect(); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// To look is not to make.
func TestDetectProxyModeMakesNothing(t *testing.T) {
	nettest.InNamespace(t)
	Detect()
	for _, names := range []string{"ip_tables_names", "ip6_tables_names"} {
		// A kernel without the old interface has no such file.
		if tables, err := os.ReadFile("/proc/thread-self/net/" + names); err == nil && len(tables) != 0 {
			t.Errorf("%s: made %q", names, tables)
		}
	}
	if out := nettest.Command(t, "nft", "list", "ruleset"); out != "" {
		t.Errorf("made:\n%s", out)
	}
}

// Without privileges rules cannot be seen; links can.
func TestDetectProxyModeWithoutRoot(t *testing.T) {
	nettest.InNamespace(t)
	t.Setenv("XTABLES_LOCKFILE", filepath.Join(t.TempDir(), "xtables.lock"))
	for _, line := range []string{"nft add table ip kube-proxy", "iptables-legacy -t nat -N KUBE-SVC-X"} {
		nettest.Command(t, "sh", "-c", line)
	}
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	mode := make(chan Mode)
	go func() {
		defer close(mode)
		runtime.LockOSThread() // never unlocked: the thread is not to be used again
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		const nobody = 65534
		// Of this thread only, which unix.Setresuid is not.
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
			t.Error(errno)
			return
		}
		mode <- Detect()
	}()
	if got := <-mode; got != None {
		t.Errorf("got %q", got)
	}
}
