// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// TestLastGood kills a cache that served, breaks what it is made of, and starts it again: it runs and steers with its last
// configuration, and says that what the files say is not valid. What is mended takes effect without another start.
func TestLastGood(t *testing.T) {
	faults := append([]fault{
		{name: "unknown directive", base: unknownDirective},
		{name: "half a template", base: fourBlocks(ipv4)[:200]},
		{name: "argument of a directive", base: strings.Replace(fourBlocks(ipv4), "cache 30", "cache {\n success x\n }", 1)},
		{name: "resolv.conf with search only", resolv: "search corp.test\n"},
		{name: "resolv.conf with the ClusterIP only", resolv: "nameserver 10.96.0.10\n"},
	}, kubeDNSFaults...)
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t, lab.NFTables)
			kubeDNS := harness.Dir(t)
			c := start(t, l, options{firewall: lab.NFTables, args: []string{"-kubednscm", kubeDNS}})
			c.validIs(t, 1)
			c.kept(t, "/run/nodelocaldns")
			c.kill(t)
			for name, text := range f.files {
				harness.Replace(t, filepath.Join(kubeDNS, name), text)
			}
			if f.base != "" {
				c.setBase(t, f.base)
			}
			if f.resolv != "" {
				l.Node.ResolvConf(t, f.resolv)
			}
			c = c.again(t)
			answered(t, l, ipv4)
			outside(t, l)
			c.validIs(t, 0)
			c.said(t, "Running the last configuration that worked")
			t.Log(lastError(c.Output()))
			if n := len(l.Node.State(t).With("nodelocaldns type tuntap")); n != 1 {
				t.Errorf("%d links", n)
			}
			for name := range f.files {
				harness.Remove(t, filepath.Join(kubeDNS, name))
			}
			if f.resolv != "" {
				l.Node.ResolvConf(t, "nameserver "+lab.OutsideIP.String()+"\n")
			}
			c.setBase(t, c.options.base)
			c.validIs(t, 1)
			c.setBase(t, c.options.base+extraBlock(ipv4))
			waitExtra(t, l, ipv4...)
			c.validIs(t, 1)
			c.term(t)
		})
	}
}

// outside asks for a name that the node's resolver has to be asked for.
func outside(t *testing.T, l *lab.Lab) {
	t.Helper()
	check(t, l.Pod, lab.LinkLocal, false, answer{"www.example.org.", 1, 0, 1, "198.51.100.7"})
}

// TestLastGoodFile: who may read it, and what is not trusted.
func TestLastGoodFile(t *testing.T) {
	l := lab.New(t, lab.NFTables)
	state := harness.Dir(t)
	c := start(t, l, options{firewall: lab.NFTables, args: []string{"-statedir", state}})
	file := filepath.Join(state, "Corefile.last-good")
	c.kept(t, state)
	for path, want := range map[string]os.FileMode{state: os.ModeDir | 0o700, file: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(good), "forward . "+lab.OutsideIP.String()) {
		t.Errorf("it depends on resolv.conf:\n%s", good)
	}
	c.term(t)
	c.setBase(t, unknownDirective)
	for name, spoil := range map[string]func() error{
		"damaged":            func() error { return os.WriteFile(file, append(good, '\n'), 0o600) },
		"empty":              func() error { return os.Truncate(file, 0) },
		"writable by others": func() error { return os.Chmod(file, 0o666) },
		"another user's":     func() error { return os.Chown(file, 1, 1) },
		"a link": func() error {
			if err := os.Rename(file, file+".moved"); err != nil {
				return err
			}
			return os.Symlink(file+".moved", file)
		},
	} {
		_ = os.Remove(file)
		if err := os.WriteFile(file, good, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		next := *c
		next.run()
		if code := next.Wait(t, 10*time.Second); code != 1 || !strings.Contains(next.Errors(), "Corefile.base:2: unknown directive") {
			t.Errorf("%s: exit code %d, %s", name, code, next.Errors())
		}
		if n := strings.Count(next.Output(), "The last configuration that worked is not used: "); n != 1 {
			t.Errorf("%s: said %d times:\n%s", name, n, next.Output())
		}
		answered(t, l, ipv4)
	}
	_ = os.Remove(file)
	if err := os.WriteFile(file, good, 0o600); err != nil {
		t.Fatal(err)
	}
	c.again(t).term(t)
	for _, change := range [][]string{{"-lease", "5"}, {"-interfacename", "dnscache"}} {
		other := *c
		other.options.args = append(append([]string{}, c.options.args...), change...)
		other.run()
		if code := other.Wait(t, 10*time.Second); code != 1 || !strings.Contains(other.Output(), "it was made for other flags") {
			t.Errorf("%s: exit code %d:\n%s", change, code, other.Output())
		}
	}
}

// TestLastGoodOfItsAuthor is about a Corefile that is not rendered, and -reloadwithsignal's cousin, SIGUSR1.
func TestLastGoodOfItsAuthor(t *testing.T) {
	l := lab.New(t, lab.NFTables)
	text := stanza("nftables", "fallback 10.96.0.10")
	c := start(t, l, options{firewall: lab.NFTables, base: text, conf: true})
	c.kept(t, "/run/nodelocaldns")
	c.kill(t)
	c.setBase(t, strings.Replace(text, "    loop\n", "    nosuchdirective\n", 1))
	c = c.again(t)
	answered(t, l, ipv4)
	c.validIs(t, 0)
	c.said(t, "unknown directive \"nosuchdirective\"")
	c.setBase(t, text+extraBlock(ipv4))
	c.Signal(t, syscall.SIGUSR1)
	waitExtra(t, l, ipv4...)
	c.validIs(t, 1)
	c.term(t)
}
