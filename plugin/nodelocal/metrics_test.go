// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
)

// addrs parses addresses with a space between them.
func addrs(s string) (list []netip.Addr) {
	for _, word := range strings.Fields(s) {
		list = append(list, netip.MustParseAddr(word))
	}
	return list
}

// believe publishes a steering until the end of the test.
func believe(t *testing.T, c hostnet.Config, steered string) {
	t.Helper()
	old := belief.Swap(&steering{c, addrs(steered), []string{"tun", "nftables", "none"}})
	t.Cleanup(func() { belief.Store(old) })
}

// TestSteeringMetric compares the metric with what the kernel and the supervisor say.
func TestSteeringMetric(t *testing.T) {
	const lease = 3 * time.Second
	for _, tt := range []struct {
		name, link     string
		lease, round   time.Duration // round: the age of the last one; negative: there was none
		steered, local string
		want           string
	}{
		{"both", hostnet.TUN, lease, 0, "10.0.0.1 10.0.0.2", "10.0.0.1 10.0.0.2", "10.0.0.1 10.0.0.2"},
		{"one steered", hostnet.TUN, lease, 0, "10.0.0.2", "10.0.0.1 10.0.0.2", "10.0.0.2"},
		{"the supervisor stands, and the lease is over", hostnet.TUN, lease, time.Hour, "10.0.0.1 10.0.0.2", "", ""},
		{"a round that takes long, in which the lease is kept", hostnet.TUN, lease, 2 * lease, "10.0.0.1", "10.0.0.1", "10.0.0.1"},
		{"somebody removes an address", hostnet.Dummy, 0, 0, "10.0.0.1 10.0.0.2", "10.0.0.1", "10.0.0.1"},
		{"no link", hostnet.None, lease, 0, "10.0.0.1", "10.0.0.1", "10.0.0.1"},
		{"no link, and the address is gone", hostnet.None, lease, 0, "10.0.0.1", "", ""},
		{"no link, and the supervisor stands", hostnet.None, lease, lease, "10.0.0.1", "10.0.0.1", ""},
		{"no link, and no round yet", hostnet.None, lease, -1, "10.0.0.1", "10.0.0.1", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lastRound.Store(nil)
			if tt.round >= 0 {
				last := time.Now().Add(-tt.round)
				lastRound.Store(&last)
				defer lastRound.Store(nil)
			}
			believe(t, hostnet.Config{Link: tt.link, Lease: tt.lease, Addresses: addrs("10.0.0.1 10.0.0.2")}, tt.steered)
			local := addrs(tt.local)
			r := prometheus.NewPedanticRegistry()
			r.MustRegister(steeringCollector{func(a netip.Addr) bool { return slices.Contains(local, a) }})
			families, err := r.Gather()
			if err != nil || len(families) != 2 || len(families[1].Metric) != 2 {
				t.Fatalf("%v, %v", families, err)
			}
			if got := steeredOf(families[1]); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestInfoMetric: the labels say what the network is made of.
func TestInfoMetric(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status hostnet.Status
		want   []string
	}{
		{"all", hostnet.Status{Link: hostnet.TUN, Firewall: "iptables-nft", Fallback: addrs("169.254.20.10 fd00::10")}, []string{"tun", "iptables-nft", "169.254.20.10 fd00::10"}},
		{"nothing", hostnet.Status{Link: hostnet.None, Firewall: hostnet.None}, []string{"none", "none", "none"}},
	} {
		if got := kinds(tt.status); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func steeredOf(f *dto.MetricFamily) string {
	var on []string
	for _, m := range f.Metric {
		if m.GetGauge().GetValue() == 1 {
			on = append(on, m.Label[0].GetValue())
		}
	}
	return strings.Join(on, " ")
}
