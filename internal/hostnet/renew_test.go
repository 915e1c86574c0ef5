// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/steering"
	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

// slowFirewall takes its time, as iptables does on a busy node.
type slowFirewall struct {
	fakeFirewall
	takes time.Duration
}

func (f *slowFirewall) Set(steering.Wanted) error { time.Sleep(f.takes); return nil }

func TestSlowRulesKeepTheLease(t *testing.T) {
	for _, tc := range []struct {
		name   string
		lease  time.Duration
		asleep time.Duration // since the last renewal
		want   int
	}{
		{"kept", 3 * time.Second, 0, 9},
		{"kept in the last moment", 3 * time.Second, 1900 * time.Millisecond, 9},
		{"run out before", 3 * time.Second, 4 * time.Second, 0},
		{"without a lifetime", 0, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var did journal
				n := &Network{book: testBook(), link: fakeLink{&did}, firewall: &slowFirewall{takes: 9900 * time.Millisecond}}
				n.cfg.Lease = tc.lease
				n.renewed = time.Now()
				time.Sleep(tc.asleep)
				if err := n.setFirewall(n.book); err != nil {
					t.Fatal(err)
				}
				if len(did) != tc.want {
					t.Errorf("renewed %d times, want %d:\n%s", len(did), tc.want, did)
				}
				if tc.want > 0 && time.Since(n.Status().Renewed) > time.Second {
					t.Errorf("renewed %s ago", time.Since(n.Status().Renewed))
				}
			})
		})
	}
}

func TestKeepLease(t *testing.T) {
	for _, tc := range []struct {
		age  time.Duration
		want int
	}{{700 * time.Millisecond, 0}, {800 * time.Millisecond, 1}, {2900 * time.Millisecond, 1}, {3 * time.Second, 0}} {
		synctest.Test(t, func(t *testing.T) {
			var did journal
			n := &Network{book: testBook(), link: fakeLink{&did}, renewed: time.Now()}
			n.cfg.Lease = 3 * time.Second
			time.Sleep(tc.age)
			if n.keepLease(); len(did) != tc.want {
				t.Errorf("%s old: renewed %d times, want %d", tc.age, len(did), tc.want)
			}
		})
	}
}

// goneLink had gone before each call.
type goneLink struct{ fakeLink }

func (l goneLink) Set(addrs []netip.Addr, lease time.Duration) (bool, error) {
	_, err := l.fakeLink.Set(addrs, lease)
	return true, err
}

func TestKeepLeaseTellsOfTheLink(t *testing.T) {
	var did journal
	n := &Network{book: testBook(), link: goneLink{fakeLink{&did}}, renewed: time.Now().Add(-time.Second)}
	n.cfg.Lease = 3 * time.Second
	n.keepLease()
	n.link = fakeLink{&did}
	for _, want := range []bool{true, false} {
		if repaired, err := n.Renew(); err != nil || repaired != want {
			t.Errorf("repaired: %v, %v; want %v", repaired, err, want)
		}
	}
}

// One address that cannot be had, as IPv6 was switched off, is no harm to the others, in whatever place it is named.
func TestRenewWithoutIPv6(t *testing.T) {
	for _, addrs := range []string{"169.254.20.10 fd00::10", "fd00::10 169.254.20.10"} {
		t.Run(addrs, func(t *testing.T) {
			nettest.InNamespace(t)
			cfg := testConfig()
			cfg.Addresses, cfg.Fallback, cfg.Lease = nettest.Addrs(addrs), nil, 2*time.Second
			n := open(t, cfg)
			defer closeNetwork(t, n)
			disableIPv6(t, "nodelocaldns", "1")
			begin := time.Now()
			for time.Since(begin) < 2*cfg.Lease {
				if _, err := n.Renew(); err == nil || !strings.Contains(err.Error(), "adding fd00::10 to nodelocaldns") || strings.Contains(err.Error(), "169") {
					t.Fatalf("got %v", err)
				}
				if time.Since(n.Status().Renewed) > time.Second {
					t.Fatal("as if it had slept")
				}
				if out := nettest.Command(t, "ip", "-br", "addr", "show", "nodelocaldns"); !strings.Contains(out, "169.254.20.10/32") || strings.Contains(out, "fd00") {
					t.Fatalf("addresses: %s", out)
				}
				time.Sleep(cfg.Lease / 4) // the heartbeat
			}
			if out := nettest.Command(t, "ip", "-6", "route", "show", "table", "local"); strings.Contains(out, "fd00") {
				t.Errorf("routes without an address: %s", out)
			}
			disableIPv6(t, "nodelocaldns", "0")
			if _, err := n.Renew(); err != nil {
				t.Fatal(err)
			}
			if out := nettest.Command(t, "ip", "-br", "addr", "show", "nodelocaldns"); !strings.Contains(out, "fd00::10/128") {
				t.Errorf("not back: %s", out)
			}
		})
	}
}

// disableIPv6 does so, or with "0" takes it back, for a link, or as "default" for those to come.
func disableIPv6(t *testing.T, link, value string) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+link+"/disable_ipv6", []byte(value), 0o644); err != nil {
		t.Fatal(err)
	}
}
