// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
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
		want ProxyMode
	}{
		"nothing":                          {nil, ProxyNone},
		"IPVS":                             {[]string{ipvs}, ProxyIPVS},
		"IPVS with its iptables rules":     {[]string{ipvs, nftIPVS}, ProxyIPVS},
		"IPVS, left by another mode":       {[]string{ipvs, nft, nftables}, ProxyIPVS},
		"nftables":                         {[]string{nftables}, ProxyNFTables},
		"nftables, IPv6":                   {[]string{nftables6}, ProxyNFTables},
		"nftables of somebody else":        {[]string{"nft add table ip kube-proxy-not", "nft add table inet kube-proxy"}, ProxyNone},
		"iptables-nft":                     {[]string{nft}, ProxyIPTables},
		"iptables-nft, IPv6":               {[]string{nft6}, ProxyIPTables},
		"iptables-legacy":                  {[]string{legacy}, ProxyIPTables},
		"iptables-legacy, IPv6":            {[]string{legacy6}, ProxyIPTables},
		"not up yet":                       {[]string{nftIPVS, legacyIPVS}, ProxyNone},
		"a chain of another table":         {[]string{"iptables-nft -t mangle -N KUBE-SVC-X", "iptables-legacy -t mangle -N KUBE-SVC-X"}, ProxyNone},
		"a chain named like a Service's":   {[]string{"iptables-nft -t nat -N MY-KUBE-SVC-X", "iptables-legacy -t nat -N MY-KUBE-SVC-X"}, ProxyNone},
		"Cilium":                           {[]string{cilium}, ProxyCilium},
		"Cilium beside kube-proxy":         {[]string{cilium, legacy}, ProxyIPTables},
		"Cilium beside kube-proxy in IPVS": {[]string{cilium, ipvs}, ProxyIPVS},
	} {
		t.Run(name, func(t *testing.T) {
			inNamespace(t)
			t.Setenv("XTABLES_LOCKFILE", filepath.Join(t.TempDir(), "xtables.lock"))
			for _, line := range test.host {
				command(t, "sh", "-c", line)
			}
			if got := DetectProxyMode(); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// The command of the old interface may have no second name, or not be there.
func TestDetectProxyModePlain(t *testing.T) {
	for _, test := range []struct {
		name, multi string
		want        ProxyMode
	}{{"legacy", "xtables-legacy-multi", ProxyIPTables}, {"nft", "xtables-nft-multi", ProxyNone}, {"not installed", "", ProxyNone}} {
		t.Run(test.name, func(t *testing.T) {
			inNamespace(t)
			command(t, "iptables-legacy", "-t", "nat", "-N", "KUBE-SVC-X")
			dir := t.TempDir()
			for _, name := range []string{"iptables", "iptables-save"} {
				if target, err := exec.LookPath(test.multi); err == nil {
					if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
						t.Fatal(err)
					}
				}
			}
			t.Setenv("PATH", dir)
			if got := DetectProxyMode(); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// To look is not to make.
func TestDetectProxyModeMakesNothing(t *testing.T) {
	inNamespace(t)
	DetectProxyMode()
	for _, six := range []bool{false, true} {
		if tables := legacyTables(six); len(tables) != 0 {
			t.Errorf("IPv6 %v: made %q", six, tables)
		}
	}
	if out := command(t, "nft", "list", "ruleset"); out != "" {
		t.Errorf("made:\n%s", out)
	}
}

// Without privileges rules cannot be seen; links can.
func TestDetectProxyModeWithoutRoot(t *testing.T) {
	inNamespace(t)
	t.Setenv("XTABLES_LOCKFILE", filepath.Join(t.TempDir(), "xtables.lock"))
	for _, line := range []string{"nft add table ip kube-proxy", "iptables-legacy -t nat -N KUBE-SVC-X"} {
		command(t, "sh", "-c", line)
	}
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	mode := make(chan ProxyMode)
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
		mode <- DetectProxyMode()
	}()
	if got := <-mode; got != ProxyNone {
		t.Errorf("got %q", got)
	}
}
