// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"testing"

	"github.com/coredns/coredns/plugin/metrics"
	"github.com/miekg/dns"
)

// TestPrometheusLast has no plugin behind prometheus.
func TestPrometheusLast(t *testing.T) {
	l := stand(t)
	query := pack(t, "www.example.org.", dns.TypeA, nil)
	k, _ := key(query)
	c := newCounters(&entry{key: k, wire: answerTo(t, query, a30), block: &block{prometheus: metrics.New("127.0.0.1:0")}}, l.server)
	if c == uncounted {
		t.Error("a hit is not counted")
	}
}
