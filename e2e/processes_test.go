// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// TestProcesses counts the iptables processes: none but at a resync, and at most four there.
func TestProcesses(t *testing.T) {
	t.Parallel()
	for _, firewall := range []lab.Backend{lab.IPTablesNFT, lab.IPTablesLegacy} {
		t.Run(string(firewall), func(t *testing.T) {
			t.Parallel()
			l := lab.New(t, firewall)
			c := start(t, l, options{firewall: firewall, addrs: dual, args: []string{"-syncinterval", "5"}})
			c.settle(t)
			c.quiet(t)
			for range 2 {
				had := len(c.tools.Calls(t))
				harness.Until(t, 20*time.Second, "resync", func() error {
					if n := len(c.tools.Calls(t)); n == had {
						return fmt.Errorf("%d calls", n)
					}
					return nil
				})
				<-time.After(3 * time.Second) // a resync and then silence
				calls := c.tools.Calls(t)[had:]
				if len(calls) > 4 {
					t.Errorf("%d processes at a resync: %q", len(calls), calls)
				}
				t.Logf("%q", calls)
			}
		})
		t.Run(string(firewall)+"/steady", func(t *testing.T) {
			t.Parallel()
			l := lab.New(t, firewall)
			c := start(t, l, options{firewall: firewall, addrs: dual})
			c.settle(t)
			c.quiet(t)
			had := len(c.tools.Calls(t))
			loads := client.StartAll(t, clients(l, dual...)...)
			<-time.After(10 * time.Second) // the measurement
			noFailure(t, stop(t, loads))
			if calls := c.tools.Calls(t)[had:]; len(calls) > 0 {
				t.Errorf("processes in a steady state: %q", calls)
			}
			t.Logf("%d processes at the start: %q", had, c.tools.Calls(t)[:had])
		})
	}
}

// quiet waits until the cache has run no iptables process for two seconds.
func (c *cache) quiet(t *testing.T) {
	t.Helper()
	had, since := len(c.tools.Calls(t)), time.Now()
	harness.Until(t, 30*time.Second, "two seconds without an iptables process", func() error {
		calls := c.tools.Calls(t)
		if len(calls) != had {
			had, since = len(calls), time.Now()
		}
		if time.Since(since) < 2*time.Second {
			return fmt.Errorf("%d processes so far", had)
		}
		return nil
	})
}
