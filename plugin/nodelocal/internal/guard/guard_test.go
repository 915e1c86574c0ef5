// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/shares"
)

// of makes n connections of a client; the first was sent nothing for n s, the last for 1 s.
func of(ip string, n int) (all []connection) {
	for i := range n {
		peer := netip.AddrPortFrom(netip.MustParseAddr(ip), uint16(1000+i))
		all = append(all, connection{fd: i, peer: peer, unanswered: time.Duration(n-i) * time.Second})
	}
	return all
}

func TestPlan(t *testing.T) {
	for name, test := range map[string]struct {
		held []connection
		end  string // client and numbers
		full string
	}{
		"nobody":                              {nil, "", ""},
		"alone, half of them":                 {of("10.0.0.1", 4), "", ""},
		"alone, all of them":                  {of("10.0.0.1", 8), "", "10.0.0.1"},
		"alone, too many":                     {of("10.0.0.1", 10), "10.0.0.1: 0 1", "10.0.0.1"},
		"another one comes":                   {slices.Concat(of("10.0.0.1", 8), of("10.0.0.2", 1)), "10.0.0.1: 0 1 2 3", "10.0.0.1"},
		"two, and there is room":              {slices.Concat(of("10.0.0.1", 3), of("10.0.0.2", 1)), "", ""},
		"two with what is theirs":             {slices.Concat(of("10.0.0.1", 4), of("10.0.0.2", 3)), "", "10.0.0.1"},
		"two pods in one /64":                 {slices.Concat(of("fd00::1", 5), of("fd00::2", 2), of("10.0.0.2", 1)), "fd00::1: 0 1 2", "fd00::1 fd00::2"},
		"everybody has the least, beyond all": {crowd(9), "", ""},
		"one of a crowd has two":              {slices.Concat(crowd(8), of("10.0.2.1", 2)), "10.0.2.1: 0", "10.0.2.1"},
	} {
		end, full := plan(8, test.held)
		slices.SortFunc(full, netip.Addr.Compare)
		if got := list(full); got != test.full {
			t.Errorf("%s: full are %q, want %q", name, got, test.full)
		}
		if got := ends(end); got != test.end {
			t.Errorf("%s: ends %q, want %q", name, got, test.end)
		}
	}
}

// TestPlanForACrowd has 400 clients hold 4 of 1,024 connections each, which is the least share, and one that came with two.
func TestPlanForACrowd(t *testing.T) {
	all := of("10.0.2.1", 2)
	for i := range 400 {
		all = append(all, of(fmt.Sprintf("10.0.%d.%d", 3+i/256, i%256), 4)...)
	}
	end, _ := plan(1024, all)
	if left := len(all) - len(end); left > 1024 {
		t.Errorf("%d connections are left of %d, want 1024 at most", left, len(all))
	}
	for _, c := range end {
		if c.peer.Addr() == all[0].peer.Addr() {
			t.Errorf("a connection of the client with two is ended: %v", c)
		}
	}
}

func TestFullness(t *testing.T) {
	f, now := fullness{}, time.Now()
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	for _, step := range []struct {
		at   time.Duration
		full []netip.Addr
		want string
	}{
		{0, nil, ""},
		{0, []netip.Addr{b}, "10.0.0.2"},
		{time.Second, []netip.Addr{a}, "10.0.0.1 10.0.0.2"},
		{2 * time.Second, nil, "10.0.0.1 10.0.0.2"},
		{refuseFor, []netip.Addr{a}, "10.0.0.1"},
		{2*refuseFor - 1, nil, "10.0.0.1"},
		{2 * refuseFor, nil, ""},
	} {
		if got := list(f.note(step.full, now.Add(step.at))); got != step.want {
			t.Errorf("after %s: refused are %q, want %q", step.at, got, step.want)
		}
	}
}

// TestLasting has connections count when they are there for a while, however often they were looked at, and at once for who is refused.
func TestLasting(t *testing.T) {
	g := &guard{refused: []netip.Addr{netip.MustParseAddr("10.0.0.9")}}
	other := of("10.0.0.1", 1) // with the number of an earlier one
	other[0].peer = netip.MustParseAddrPort("10.0.0.1:9")
	begin := time.Now()
	for i, step := range []struct {
		at   time.Duration
		all  []connection
		want int
	}{
		{0, of("10.0.0.1", 3), 0}, {guardPause, of("10.0.0.1", 3), 0}, {lastingAfter, of("10.0.0.1", 5), 3}, {lastingAfter, other, 0},
		{2 * lastingAfter, slices.Concat(other, of("10.0.0.9", 4)), 5}, {2 * lastingAfter, nil, 0},
	} {
		if got := len(g.lasting(step.all, begin.Add(step.at))); got != step.want {
			t.Errorf("look %d: %d connections last, want %d", i, got, step.want)
		}
	}
}

func TestCapacity(t *testing.T) {
	for _, test := range [][3]int{{1024, 30, 497}, {64, 40, 12}, {64, 63, 8}, {1024, 1000, 128}, {20000, 30, 8192}, {1, 1, 1}} {
		if got := capacity(test[0], test[1]); got != test[2] {
			t.Errorf("limit %d, %d others: %d connections, want %d", test[0], test[1], got, test[2])
		}
	}
}

// crowd is a connection of each of n clients.
func crowd(n int) (all []connection) {
	for i := range n {
		all = append(all, of(fmt.Sprintf("10.0.1.%d", i), 1)...)
	}
	return all
}

func list(clients []netip.Addr) string { return strings.Trim(fmt.Sprint(clients), "[]") }

// ends prints the clients whose connections are ended, each with the numbers of those.
func ends(all []connection) string {
	fds := map[netip.Addr][]int{}
	for _, c := range all {
		client := shares.Client(c.peer.Addr())
		fds[client] = append(fds[client], c.fd)
	}
	var s []string
	for client, numbers := range fds {
		slices.Sort(numbers)
		s = append(s, fmt.Sprintf("%s: %s", client, strings.Trim(fmt.Sprint(numbers), "[]")))
	}
	return strings.Join(s, "; ")
}
