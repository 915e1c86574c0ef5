// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
)

// epoch is when the histories of these tests begin.
var epoch = time.Unix(1e9, 0)

// after returns a time some seconds after epoch.
func after(seconds float64) time.Time {
	return epoch.Add(time.Duration(seconds * float64(time.Second)))
}

// statusOf has addresses 10.0.0.1 and so on, each with the state that a letter names.
func statusOf(states string) (s hostnet.Status) {
	for i, r := range states {
		state := map[rune]hostnet.State{'-': hostnet.Absent, 'n': hostnet.Standing, 't': hostnet.Settling, 's': hostnet.Steered, 'f': hostnet.Forsaken, 'p': hostnet.Parting}[r]
		s.Addresses = append(s.Addresses, hostnet.Address{IP: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), State: state})
	}
	s.Network = "a link, rules"
	return s
}

// historyOf has two addresses, whose health the letters say: u, a or d, and o for untried with another instance's answers.
func historyOf(pulses string) *history {
	h := newHistory(func() string { return "somebody holds it" })
	h.configure(both, statusOf("nn"), epoch)
	for i, r := range pulses {
		h.health[both.Addresses[i]] = &health{state: map[rune]pulse{'u': untried, 'a': alive, 'd': deaf, 'o': untried}[r],
			last: map[bool]verdict{true: foreign}[r == 'o']}
	}
	return h
}

// text prints what a report has to say.
func (r *report) text() string {
	var lines []string
	for _, e := range r.entries {
		lines = append(lines, strings.TrimSpace(e.what+": "+e.text))
	}
	r.entries = nil
	return strings.Join(lines, "\n")
}

// TestAim has each health of two addresses meet each state of them.
func TestAim(t *testing.T) {
	for _, tc := range []struct{ health, states, want string }{
		{"uu", "nn", "[]"},
		{"au", "nn", "[10.0.0.1] changes"},
		{"aa", "nn", "[10.0.0.1 10.0.0.2] changes"},
		{"aa", "tn", "[10.0.0.1 10.0.0.2] changes"},
		{"aa", "ts", "[10.0.0.1 10.0.0.2]"},
		{"aa", "ss", "[10.0.0.1 10.0.0.2]"},
		{"da", "ss", "[10.0.0.2] changes"},
		{"dd", "ss", "[] changes"},
		{"da", "ns", "[10.0.0.2]"},
		{"da", "fs", "[10.0.0.2] changes"}, // until the rules have gone
		{"aa", "fs", "[10.0.0.1 10.0.0.2] changes"},
		{"dd", "ff", "[] changes"},
		{"oa", "nn", "[]"}, // joining
		{"oo", "nn", "[]"},
		{"oa", "ns", "[10.0.0.2]"},
		{"od", "ns", "[] changes"}, // nobody answers there
		{"oa", "nf", "[10.0.0.2] changes"},
		{"oa", "ss", "[10.0.0.2] changes"},
		{"ao", "ns", "[10.0.0.1] changes"},
	} {
		d := historyOf(tc.health).aim(statusOf(tc.states), "", "")
		got := fmt.Sprint(d.steered)
		if d.changes {
			got += " changes"
		}
		if got != tc.want {
			t.Errorf("health %s, states %s: got %s, want %s", tc.health, tc.states, got, tc.want)
		}
	}
}

func TestSlept(t *testing.T) {
	for _, tc := range []struct {
		name           string
		lease, renewed time.Duration // renewed: before now; negative: never
		want           string
	}{
		{"just renewed", 3 * time.Second, 0, ""},
		{"before the end", 3 * time.Second, 3*time.Second - 1, ""},
		{"at the end", 3 * time.Second, 3 * time.Second, "[] lease: the lease ran out, this process did not run for 3s"},
		{"long after", 3 * time.Second, 61500 * time.Millisecond, "[] lease: the lease ran out, this process did not run for 1m1.5s"},
		{"never", 3 * time.Second, -1, ""},
		{"no lease", 0, time.Hour, ""},
	} {
		h, now := historyOf("aa"), after(1000)
		h.s.Lease = tc.lease
		status := statusOf("ss")
		if tc.renewed >= 0 {
			status.Renewed = now.Add(-tc.renewed)
		}
		got := ""
		d, slept := h.slept(status, now)
		if slept {
			got = fmt.Sprintf("%v %s: %s", d.steered, d.reason, d.why)
		}
		if got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
		if untriedNow := h.health[one].state == untried && h.begun.Equal(now); untriedNow != slept {
			t.Errorf("%s: the addresses wait for their first answer: %t", tc.name, untriedNow)
		}
	}
}

func TestRenewed(t *testing.T) {
	gone := errors.New("no such device")
	for _, tc := range []struct {
		name     string
		repaired bool
		err      error
		event    hostnet.Event
		states   string
		want     string
	}{
		{"renewed", false, nil, hostnet.Event{}, "ss", "link_present: 1"},
		{"peer gone", false, nil, hostnet.Event{Gone: hostnet.PeerGone}, "ss", "link_present: 1"},
		{"error", false, gone, hostnet.Event{Gone: hostnet.AddressGone, Address: one}, "ss", "error: no such device\nlink_present: 0\nlease_failures:\nsetup_errors: interface_check"},
		{"error of one address", true, gone, hostnet.Event{}, "ss", "error: no such device\nlink_present: 0\nlease_failures:\nsetup_errors: interface_check"},
		{"link", true, nil, hostnet.Event{Gone: hostnet.LinkGone}, "ss", "link_present: 1\nrepairs: link\nwarning: Link put back: something removed it (a link, rules)"},
		{"address", false, nil, hostnet.Event{Gone: hostnet.AddressGone, Address: one}, "ss",
			"link_present: 1\nrepairs: address\nwarning: Address put back: 10.0.0.1 had been removed, or not been renewed in time (a link, rules)"},
		{"an address that was forsaken", false, nil, hostnet.Event{Gone: hostnet.AddressGone, Address: one}, "sf", "link_present: 1"},
	} {
		h := historyOf("aa")
		h.renewed(tc.repaired, tc.err, tc.event, statusOf(tc.states))
		if got := h.text(); got != tc.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tc.name, got, tc.want)
		}
	}
}

func TestDecide(t *testing.T) {
	const no = "no answer to 3 self-queries in a row"
	for _, tc := range []struct {
		name, health, states string
		now                  float64
		verdicts             []verdict
		steered, said        string
	}{
		{"the servers are still to listen", "uu", "nn", 5, []verdict{failed, failed}, "[]", ""},
		{"they should listen by now", "uu", "nn", 5.1, []verdict{failed, failed}, "[]",
			"self_queries: 10.0.0.1 failed\nself_queries: 10.0.0.2 failed\nerror: Steering stays off: the cache does not answer at 10.0.0.1 10.0.0.2"},
		{"first answer", "uu", "nn", 1, []verdict{answered, failed}, "[10.0.0.1]", "self_queries: 10.0.0.1 answered"},
		{"first answer, late", "uu", "nn", 9, []verdict{answered, unasked}, "[10.0.0.1]", "self_queries: 10.0.0.1 answered\nself_queries: 10.0.0.2 unasked"},
		{"steered", "aa", "ss", 1, []verdict{failed, foreign}, "[10.0.0.1 10.0.0.2]", "self_queries: 10.0.0.1 failed\nself_queries: 10.0.0.2 foreign"},
		{"one is off", "da", "ns", 9, []verdict{failed, answered}, "[10.0.0.2]",
			"self_queries: 10.0.0.1 failed\nself_queries: 10.0.0.2 answered\nerror: Steering stays off: the cache does not answer at 10.0.0.1"},
		{"one was off just now", "da", "ns", 5, []verdict{failed, answered}, "[10.0.0.2]", "self_queries: 10.0.0.2 answered"},
	} {
		h := historyOf(tc.health)
		d := h.decide(tc.verdicts, statusOf(tc.states), after(tc.now))
		if got := fmt.Sprint(d.steered); got != tc.steered || d.why != no || d.reason != "self_query" {
			t.Errorf("%s: got %s, %s: %s", tc.name, got, d.reason, d.why)
		}
		if got := h.text(); got != tc.said {
			t.Errorf("%s: got\n%s\nwant\n%s", tc.name, got, tc.said)
		}
		if heard := strings.Contains(tc.said, "answered"); h.heard != heard {
			t.Errorf("%s: heard %t, want %t", tc.name, h.heard, heard)
		}
	}
}

func TestApplied(t *testing.T) {
	off, on := []netip.Addr{one}, []netip.Addr{two}
	for _, tc := range []struct {
		name    string
		changes bool
		change  hostnet.Change
		err     error
		bare    bool // afterwards
		want    string
	}{
		{"nothing", false, hostnet.Change{}, nil, true, ""},
		{"settling", false, hostnet.Change{}, errBroken, true, "setup_errors: iptables\nerror: it is broken"},
		{"on, or back from forsaken", true, hostnet.Change{}, nil, false, "info: Steering: 10.0.0.2 on, 10.0.0.1 off (a link, rules)"},
		{"off", true, hostnet.Change{Off: off}, nil, false,
			"withdrawals: self_query\nwarning: Steering off: 10.0.0.1: why; the cluster DNS answers now\ninfo: Steering: 10.0.0.2 on, 10.0.0.1 off (a link, rules)"},
		{"turn", true, hostnet.Change{}, hostnet.ErrTurn, true, "rules_present: 0"},
		{"lock", true, hostnet.Change{}, hostnet.RulesError{Err: hostnet.ErrLocked}, true,
			"setup_errors: iptables_lock\nerror: another program holds the xtables lock\nrules_present: 0"},
		{"forsaken", true, hostnet.Change{Forsaken: off}, errBroken, true, "setup_errors: iptables\nerror: it is broken\nwithdrawals: self_query\n" +
			"warning: Steering off: 10.0.0.1: why; the rules cannot be changed, so the address goes; the cluster DNS answers now\nrules_present: 0"},
	} {
		h := historyOf("aa")
		h.bare = true
		d := decision{steered: on, changes: tc.changes, why: "why", reason: "self_query"}
		if ok := h.applied(d, tc.change, tc.err, statusOf("ns")); ok != (tc.err == nil) || h.bare != tc.bare {
			t.Errorf("%s: %t, bare %t", tc.name, ok, h.bare)
		}
		if got := h.text(); got != tc.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tc.name, got, tc.want)
		}
	}
	h := historyOf("dd")
	h.said["waiting"] = "Steering stays off"
	h.applied(decision{changes: true}, hostnet.Change{Off: off}, nil, statusOf("nn"))
	if got := h.text(); strings.Contains(got, "Steering on") || h.said["waiting"] != "" {
		t.Errorf("got %s, %v", got, h.said)
	}
}

func TestChecked(t *testing.T) {
	rules, fallback := []string{"rules"}, []string{"fallback"}
	for _, tc := range []struct {
		name     string
		shared   bool // before
		found    hostnet.Findings
		err      error
		thorough bool
		want     string
		after    string // shared, bare, resync
	}{
		{"right", false, hostnet.Findings{}, nil, false, "rules_present: 1", ""},
		{"right, thorough", false, hostnet.Findings{}, nil, true, "rules_present: 1", "resync"},
		{"put back", false, hostnet.Findings{Broken: rules}, nil, false,
			"repairs: rules\nwarning: Put back what something removed or changed: chains NODELOCALDNS-* (a link, rules)\nrules_present: 1", ""},
		{"put back, and the kernel says after whom", false, hostnet.Findings{Broken: []string{"rules", "fallback"}, By: "nft (pid 7)"}, nil, false,
			"repairs: rules\nrepairs: fallback\nwarning: Put back what nft (pid 7) removed or changed: chains NODELOCALDNS-*, table nodelocaldns_fallback (a link, rules)\nrules_present: 1", ""},
		{"put back after a peer", true, hostnet.Findings{Broken: rules}, nil, true,
			"info: Put back what another instance changed: chains NODELOCALDNS-* (a link, rules)\nrules_present: 1", "resync"},
		{"cannot be looked at", true, hostnet.Findings{}, errBroken, true, "rules_present: 0\nsetup_errors: iptables\nerror: it is broken", "shared"},
		{"cannot be put back", false, hostnet.Findings{Broken: rules, Bare: true}, errBroken, true,
			"rules_present: 0\nsetup_errors: iptables\nerror: it is broken", "bare resync"},
		{"somebody has the turn", false, hostnet.Findings{Broken: fallback}, hostnet.ErrTurn, false, "rules_present: 0", ""},
		{"a peer comes", false, hostnet.Findings{Skipped: true, Peers: "pid 7"}, nil, false, "info: Another instance runs on this node: pid 7", "shared"},
		{"a peer stays", true, hostnet.Findings{Skipped: true, Peers: "pid 7"}, nil, true, "", "shared"},
		{"a peer, thorough", true, hostnet.Findings{Peers: "pid 7"}, nil, true, "rules_present: 1", "shared resync"},
		{"a peer has gone", true, hostnet.Findings{}, nil, false, "rules_present: 1", ""},
	} {
		h := historyOf("aa")
		h.shared = tc.shared
		ok := h.checked(tc.found, tc.err, tc.thorough, statusOf("ss"), after(50))
		if ok != (tc.err == nil) {
			t.Errorf("%s: %t", tc.name, ok)
		}
		if got := h.text(); got != tc.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tc.name, got, tc.want)
		}
		var is []string
		for name, on := range map[string]bool{"shared": h.shared, "bare": h.bare, "resync": !h.resync.Equal(epoch)} {
			if on != strings.Contains(tc.after, name) {
				is = append(is, name)
			}
		}
		if len(is) > 0 {
			t.Errorf("%s: want %q afterwards, and it is not so for %v", tc.name, tc.after, is)
		}
	}
}

func TestThorough(t *testing.T) {
	h := historyOf("aa")
	for seconds, want := range map[float64]bool{0: false, 29.9: false, 30: true, 31: true} {
		if got := h.thorough(after(seconds)); got != want {
			t.Errorf("after %v s: %t", seconds, got)
		}
	}
}

func TestConclude(t *testing.T) {
	for _, tc := range []struct {
		name, states string
		failures     int
		pulses       string
		now          float64
		want         time.Duration
	}{
		{"starting", "nn", 0, "uu", 4.9, startInterval},
		{"one is steered", "tn", 0, "au", 4.9, startInterval},
		{"for long", "nn", 0, "uu", 5, interval},
		{"steered", "ts", 0, "aa", 1, interval},
		{"doubtful", "ss", 1, "aa", 1, interval / 2},
		{"doubtful, and one is off", "sn", 1, "ad", 9, interval / 2},
		{"deaf", "nn", 9, "dd", 9, interval},
		{"forsaken", "sf", 0, "ad", 4.9, startInterval},
	} {
		h := historyOf(tc.pulses)
		h.health[one].failures = tc.failures
		if got := h.conclude(statusOf(tc.states), after(tc.now)); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
	}
}

// TestConfigureAgain keeps the health of addresses that there are rules for.
func TestConfigureAgain(t *testing.T) {
	for states, want := range map[string]string{"ss": "alive deaf", "tn": "alive untried", "nf": "untried deaf", "n-": "untried untried"} {
		h := historyOf("ad")
		h.configure(settingsOf("10.0.0.2 10.0.0.1 10.0.0.3"), statusOf(states), after(7))
		if got := fmt.Sprint(h.health[one].state, h.health[two].state); got != want {
			t.Errorf("%s: got %s, want %s", states, got, want)
		}
		if h.health[netip.MustParseAddr("10.0.0.3")].state != untried || !h.begun.Equal(after(7)) || !h.resync.Equal(after(7)) {
			t.Errorf("%s: %+v", states, h)
		}
	}
}
