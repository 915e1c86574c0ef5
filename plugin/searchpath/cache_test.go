// SPDX-License-Identifier: Apache-2.0

package searchpath

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	_ "github.com/coredns/coredns/plugin/cache" // stands in front of the plugin
)

// withCache puts CoreDNS's cache in front of next.
func withCache(t *testing.T, text string, next plugin.Handler) plugin.Handler {
	t.Helper()
	c := caddy.NewTestController("dns", text)
	c.ServerBlockKeys = []string{"."}
	setup, err := caddy.DirectiveAction("dns", "cache")
	if err != nil {
		t.Fatal(err)
	}
	if err := setup(c); err != nil {
		t.Fatal(err)
	}
	return dnsserver.GetConfig(c).Plugin[0](next)
}

// TestStatefulSetStarts: web.shop.svc is denied as long as none of its pods is ready, and so are the pods. One is ready
// just after that was learned from the cluster DNS, and a peer asks for it each 100 ms: from before, or from some time
// after it is ready. The cache keeps a denial for 5 s; the last number is the least that it makes of a TTL.
func TestStatefulSetStarts(t *testing.T) {
	for _, tt := range []struct {
		cache  string
		plugin bool
		bound  time.Duration
	}{
		{"cache {\n denial 9984 5\n}", false, 5 * time.Second},
		{"cache {\n denial 9984 5\n}", true, 9 * time.Second}, // from a cut in its 4th second, and 5 s in the cache
		{"cache {\n denial 9984 5 1\n}", true, 5 * time.Second},
	} {
		longest := time.Duration(0)
		for offset := -100 * time.Millisecond; offset < 4500*time.Millisecond; offset += 100 * time.Millisecond {
			longest = max(longest, timeToFind(t, tt.cache, tt.plugin, offset))
		}
		if longest > tt.bound+100*time.Millisecond || longest < tt.bound-500*time.Millisecond {
			t.Errorf("%q, plugin %v: found after %s at the latest", tt.cache, tt.plugin, longest)
		}
	}
}

// timeToFind returns the time from the pod's readiness until a peer finds the pod. The peer asks from offset on.
func timeToFind(t *testing.T, cache string, with bool, offset time.Duration) (took time.Duration) {
	bubble(t, []string{"other.shop.svc"}, func(n *node) {
		n.noAudits()
		if !with {
			n.handler = n.up
		}
		n.handler = withCache(t, cache, n.handler)
		n.ask("web-9.web.shop.svc", a)
		if offset < 0 {
			n.ask("web-0.web.shop.svc", a)
		}
		synctest.Wait()
		time.Sleep(10 * time.Millisecond)
		n.up.set("web-0.web.shop.svc", true)
		start := time.Now()
		time.Sleep(max(offset, 0))
		for n.ask("web-0.web.shop.svc", a) != ok {
			time.Sleep(100 * time.Millisecond)
		}
		took = time.Since(start)
	})
	return took
}
