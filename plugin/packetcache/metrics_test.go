// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"testing"

	"github.com/coredns/coredns/plugin/metrics"
	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/store"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wire"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wiretest"
)

// TestPrometheusLast has no plugin behind prometheus.
func TestPrometheusLast(t *testing.T) {
	s := stand(t)
	query := wiretest.Pack(t, "www.example.org.", dns.TypeA, nil)
	k, _ := wire.ParseQuery(query, make([]byte, wire.MaxKey))
	c := newCounters(&store.Entry{Key: k, Wire: wiretest.AnswerTo(t, query, wiretest.A30)}, &origin{block: &blockInfo{prometheus: metrics.New("127.0.0.1:0")}}, s)
	if c == uncounted {
		t.Error("a hit is not counted")
	}
}
