// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// TestTwoInstances runs two caches with the same addresses, as an update with surge does. Both serve; whichever leaves, the
// other goes on, without a failed query when it leaves in order.
func TestTwoInstances(t *testing.T) {
	for _, firewall := range lab.Backends {
		t.Run(string(firewall), func(t *testing.T) {
			l := lab.New(t, firewall)
			before := l.Node.State(t)
			loads := client.StartAll(t, clients(l, clusterIPs(dual)...)...)
			first := start(t, l, options{firewall: firewall, addrs: dual})
			loads = append(loads, client.StartAll(t, clients(l, lab.LinkLocal, lab.LinkLocal6)...)...)
			second := start(t, l, options{firewall: firewall, addrs: dual, metrics: 9254})
			joined(t, second)
			bothServe(t, first, second)

			first.term(t) // the older leaves, as in an update
			second.waitSteering(t, true, againTimeout)
			progress(t, loads, 10)
			servedAgain(t, second)

			first = first.again(t)
			joined(t, first)
			bothServe(t, first, second)
			progress(t, loads, 4)
			first.term(t) // the younger leaves, as in an update that is undone
			second.waitSteering(t, true, againTimeout)
			progress(t, loads, 10)
			servedAgain(t, second)
			noFailure(t, stop(t, loads))

			first = first.again(t)
			loads = client.StartAll(t, clients(l, dual...)...)
			bothServe(t, first, second)
			kills := []client.Window{second.kill(t)}
			progress(t, loads, 10)
			second = second.again(t)
			joined(t, second)
			bothServe(t, first, second)
			progress(t, loads, 4)
			kills = append(kills, first.kill(t))
			progress(t, loads, 10)
			second.waitSteering(t, true, againTimeout)
			servedAgain(t, second)
			inFlightOnly(t, stop(t, loads), loads, kills)
			second.term(t)
			onlyFallback(t, second, before)
		})
	}
}

// joined checks that an instance that came to another one steered all addresses at once: to begin with some would take the
// rest from under the other.
func joined(t *testing.T, c *cache) {
	t.Helper()
	var on string
	harness.Until(t, saidTimeout, "line about steering in its log", func() error {
		_, rest, ok := strings.Cut(c.Output(), "Steering on: ")
		if on, _, _ = strings.Cut(rest, " ("); !ok || on == rest {
			return errors.New("none")
		}
		return nil
	})
	if on != strings.Trim(fmt.Sprint(c.options.addrs), "[]") {
		t.Errorf("it began with %s", on)
	}
}

// bothServe waits until each of the instances has answered some more queries.
func bothServe(t *testing.T, caches ...*cache) {
	t.Helper()
	for _, c := range caches {
		had := served(t, c)
		harness.Until(t, either(10*time.Second, 30*time.Second), fmt.Sprintf("queries at the instance with metrics port %d", c.options.metrics), func() error {
			if n := served(t, c); n < had+either(10.0, 5) {
				return fmt.Errorf("%g served, %g before", n, had)
			}
			return nil
		})
	}
}

func served(t testing.TB, c *cache) float64 { return c.counter(t, "coredns_dns_requests_total") }
