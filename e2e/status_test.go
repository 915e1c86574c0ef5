// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// statusSays runs the command status on the node until it has the exit code and says all of texts, and returns what it printed.
func (c *cache) statusSays(t *testing.T, timeout time.Duration, code int, texts ...string) (out string) {
	t.Helper()
	var last time.Duration
	took := harness.Until(t, timeout, fmt.Sprintf("status %d with %q", code, texts), func() error {
		var err error
		var exit *exec.ExitError
		begin := time.Now()
		defer func() { last = time.Since(begin) }()
		out, err = c.lab.Node.Output("", c.options.program, "status")
		got := 0
		if errors.As(err, &exit) {
			got = exit.ExitCode()
		} else if err != nil {
			return err
		}
		for _, text := range texts {
			if got != code || !strings.Contains(out, text) {
				return fmt.Errorf("exit code %d, want %d, and no %q in:\n%s", got, code, text, out)
			}
		}
		return nil
	})
	t.Logf("after %s, exit code %d:\n%s", took, code, out)
	if last > 10*time.Second { // what hangs is waited for for 3 s
		t.Errorf("the command took %s", last)
	}
	return out
}

// TestStatus has the command status say each state of a cache, and why: steered, deaf, badly configured, with a silent cluster DNS, hung,
// with another instance, and gone.
func TestStatus(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.IPTablesNFT)
	c := start(t, l, options{firewall: lab.IPTablesNFT, base: string(corefiles.Kubernetes)})
	ask := func(name string) {
		_, _ = client.Ask(l.Pod, client.Query{Server: client.Port53(lab.LinkLocal), Name: name, Type: dns.TypeA, Timeout: time.Second})
	}
	ask("kubernetes.default.svc.cluster.local.")

	well := fmt.Sprintf("All well: %s and %s are steered to the cache\n", lab.LinkLocal, lab.ClusterIP)
	c.statusSays(t, 15*time.Second, 0, well, "tun nodelocaldns, iptables-nft", "as they should be", "of 3s left", c.base()+" (hash ",
		"none since the start", lab.UpstreamIP.String()+":53 for cluster.local.", "answered", "packet cache")
	c.statusIsJSON(t)

	l.Node.Exec(t, fmt.Sprintf(deaf, join(ipv4), join(ipv6)), "nft", "-f", "-")
	c.statusSays(t, offTimeout, 1, fmt.Sprintf("Degraded: %s and %s are not steered for ", lab.LinkLocal, lab.ClusterIP), ": no answer to 3 self-queries in a row\n")
	l.Node.Exec(t, "", "nft", "delete", "table", "inet", "deaf")
	c.statusSays(t, againTimeout, 0, well)

	c.setBase(t, unknownDirective)
	c.statusSays(t, 15*time.Second, 1, "Degraded: the configuration cannot be used, and the one before runs: "+c.base()+`:2: unknown directive "nosuchdirective"`, "Last reload     failed ")
	c.setBase(t, strings.Replace(c.options.base, "cache {", "cache {\n        prefetch 500 5\n", 1))
	c.statusSays(t, 15*time.Second, 1, "Degraded: the configuration cannot be used, and the one before runs: "+c.base()+":", ": cache: prefetch 500 5: a duration needs a unit, such as 5s")
	c.setBase(t, c.options.base+extraBlock(ipv4))
	c.statusSays(t, 15*time.Second, 0, well, "Last reload     ok, ")

	l.LoseDNS(t, 1)
	c.statusSaysWhile(t, func() { ask("silent.wild.cluster.local.") }, 1, "Degraded: upstream "+lab.UpstreamIP.String()+":53 for cluster.local. has not answered for ",
		": clients get old answers, up to 1h after their end, else SERVFAIL after 3s\n", "silent for ")
	l.FindDNS(t)
	c.statusSays(t, 15*time.Second, 0, well)

	c.Freeze(t)
	c.statusSays(t, 15*time.Second, 1, "Degraded: the process at /run/nodelocaldns/status-", "hangs: it has not answered within 3s", "The kernel says:", "an instance runs: ", fmt.Sprintf("is held by pid %d ", c.Pid()))
	c.Signal(t, syscall.SIGCONT)
	c.statusSays(t, againTimeout, 0, well)

	second := start(t, l, options{firewall: lab.IPTablesNFT, base: string(corefiles.Kubernetes), metrics: 9254})
	c.statusSays(t, 15*time.Second, 0, "All well: ", "another instance runs on this node: ", fmt.Sprintf("is held by pid %d ", second.Pid()))
	second.term(t)
	c.term(t)
	c.statusSays(t, 15*time.Second, 2, "No cache runs on this node, and /run/nodelocaldns has no socket of one (-statedir)\n", "nftables table ip nodelocaldns_fallback", "nobody listens at port 53")
}

// statusSaysWhile is statusSays with something to do before each look.
func (c *cache) statusSaysWhile(t *testing.T, do func(), code int, texts ...string) {
	t.Helper()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				do()
			}
		}
	}()
	defer func() { close(stop); <-done }()
	c.statusSays(t, 30*time.Second, code, texts...)
}

// statusIsJSON reads what programs read.
func (c *cache) statusIsJSON(t *testing.T) {
	t.Helper()
	var all []struct {
		Socket  string
		Faults  []string
		Process struct{ Hash string }
		Node    struct {
			Addresses []struct {
				Address string
				Steered bool
				Left    float64 `json:"lease_left_seconds"`
			}
		}
	}
	out := c.lab.Node.Exec(t, "", c.options.program, "status", "-o", "json")
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 1 {
		t.Fatalf("%v:\n%s", err, out)
	}
	r := all[0]
	if filepath.Dir(r.Socket) != "/run/nodelocaldns" || r.Faults == nil || len(r.Faults) > 0 || len(r.Process.Hash) != 12 || len(r.Node.Addresses) != 2 {
		t.Errorf("%+v", r)
	}
	for _, a := range r.Node.Addresses {
		if !a.Steered || a.Left <= 0 || a.Left > 3 {
			t.Errorf("%+v", a)
		}
	}
}

// TestStatusLocked has another program hold the xtables lock: at the start, and while the cache has to take its addresses out of steering.
func TestStatusLocked(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.IPTablesLegacy)
	release := hold(t, l)
	c := launch(t, l, options{firewall: lab.IPTablesLegacy})
	c.statusSays(t, 15*time.Second, 1, "Degraded: the cache waits to set up the node's network: ", "xtables lock")
	release()
	c.waitSteering(t, true, steeringTimeout)
	c.statusSays(t, 15*time.Second, 0, "All well: ")
	release = hold(t, l)
	l.Node.Exec(t, fmt.Sprintf(deaf, join(ipv4), join(ipv6)), "nft", "-f", "-")
	c.statusSays(t, 20*time.Second, 1, "Degraded: "+fmt.Sprintf("%s and %s are not steered for ", lab.LinkLocal, lab.ClusterIP), "no answer to 3 self-queries in a row; the rules cannot be changed, so the address is off the link", "xtables lock")
	release()
	l.Node.Exec(t, "", "nft", "delete", "table", "inet", "deaf")
	c.statusSays(t, 15*time.Second, 0, "All well: ")
	c.term(t)
}

// TestStatusWithoutDirectory serves DNS although nothing can be written.
func TestStatusWithoutDirectory(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.NFTables)
	dir := harness.Dir(t)
	l.Node.Exec(t, "", "mount", "-t", "tmpfs", "-o", "ro,mode=0700", "none", dir)
	c := start(t, l, options{firewall: lab.NFTables, args: []string{"-statedir", dir}})
	answered(t, l, ipv4)
	c.said(t, "nodelocaldns status gets no answer: making a socket")
	c.statusSays(t, 15*time.Second, 1, "Not known: a cache runs that has no socket in /run/nodelocaldns, its state directory (-statedir)\n", "an instance runs: ", "udp "+lab.LinkLocal.String()+":53 is held by pid ")
	c.term(t)
}
