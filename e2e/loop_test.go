// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
)

// TestLoop gives the cache itself as its upstream. CoreDNS's loop plugin finds that and ends the process on the spot, when it
// has begun to steer; the node's DNS goes on.
func TestLoop(t *testing.T) {
	for _, firewall := range lab.Backends {
		t.Run(string(firewall), func(t *testing.T) {
			l := lab.New(t, firewall)
			loads := lab.StartAll(t, clients(l, clusterIPs(dual)...)...)
			progress(t, loads, 4)
			c := launch(t, l, options{
				firewall: firewall, addrs: dual,
				env: []string{fmt.Sprintf("KUBE_DNS_UPSTREAM_SERVICE_HOST=%s", lab.LinkLocal)},
			})
			if code := c.Wait(t, 30*time.Second); code != 1 {
				t.Errorf("exit code %d", code)
			}
			ended := time.Now()
			if !strings.Contains(strings.ToLower(c.Output()), "loop") {
				t.Error("the output does not mention a loop")
			}
			noLink(t, l)
			progress(t, loads, 10)
			reports := stop(t, loads)
			for _, r := range reports {
				if lost := r.In(lab.Window{Begin: ended.Add(inFlight), End: time.Now()}); len(lost.Failures) > 0 {
					t.Errorf("the process ended at %s: %s", clock(ended), lost)
				}
			}
			t.Logf("what the loop itself cost:\n%s", describe(reports))
		})
	}
}
