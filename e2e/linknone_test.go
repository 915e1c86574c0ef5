// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// TestSteeringOfTheKernel has somebody else own the cache's addresses. When one goes, the metric says so at the next scrape,
// before the cache has found out by three self-queries without an answer.
func TestSteeringOfTheKernel(t *testing.T) {
	l := lab.New(t, lab.IPTablesNFT)
	for _, a := range ipv4 {
		l.Node.Exec(t, "", "ip", "addr", "add", fmt.Sprintf("%s/32", a), "dev", "lo")
	}
	c := start(t, l, options{firewall: lab.IPTablesNFT, link: "none"})
	steering := func() (values []float64) {
		for _, a := range ipv4 {
			values = append(values, c.metric(t, "coredns_nodelocal_steering", fmt.Sprintf("address=%q", a)))
		}
		return values
	}
	l.Node.Exec(t, "", "ip", "addr", "del", fmt.Sprintf("%s/32", lab.ClusterIP), "dev", "lo")
	if got := steering(); got[0] != 1 || got[1] != 0 {
		t.Errorf("without the second address: %v", got)
	}
	l.Node.Exec(t, "", "ip", "addr", "add", fmt.Sprintf("%s/32", lab.ClusterIP), "dev", "lo")
	c.waitSteering(t, true, againTimeout)
	harness.Until(t, 10*time.Second, "round of late", func() error {
		if age := float64(time.Now().UnixMilli())/1000 - c.metric(t, "coredns_nodelocal_last_round_timestamp_seconds"); age < -1 || age > either(3.0, 30) {
			return fmt.Errorf("the last round was %g s ago", age)
		}
		return nil
	})
}
