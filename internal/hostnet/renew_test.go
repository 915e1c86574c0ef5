// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// slowFirewall takes its time, as iptables does on a busy node.
type slowFirewall struct {
	fakeFirewall
	takes time.Duration
}

func (f *slowFirewall) Set(Steering) error { time.Sleep(f.takes); return nil }

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
				n := &Network{cfg: testConfig(), link: fakeLink{&did}, firewall: &slowFirewall{takes: 9900 * time.Millisecond}}
				n.cfg.Lease = tc.lease
				n.renewed = time.Now()
				time.Sleep(tc.asleep)
				if err := n.setFirewall(n.cfg.Addresses); err != nil {
					t.Fatal(err)
				}
				if len(did) != tc.want {
					t.Errorf("renewed %d times, want %d:\n%s", len(did), tc.want, did)
				}
				if tc.want > 0 && time.Since(n.Renewed()) > time.Second {
					t.Errorf("renewed %s ago", time.Since(n.Renewed()))
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
			n := &Network{cfg: testConfig(), link: fakeLink{&did}, renewed: time.Now()}
			n.cfg.Lease = 3 * time.Second
			time.Sleep(tc.age)
			if n.KeepLease(); len(did) != tc.want {
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
	n := &Network{cfg: testConfig(), link: goneLink{fakeLink{&did}}, renewed: time.Now().Add(-time.Second)}
	n.cfg.Lease = 3 * time.Second
	n.KeepLease()
	n.link = fakeLink{&did}
	for _, want := range []bool{true, false} {
		if repaired, err := n.Renew(); err != nil || repaired != want {
			t.Errorf("repaired: %v, %v; want %v", repaired, err, want)
		}
	}
}
