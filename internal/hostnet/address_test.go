// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

var eventNames = [...]string{"named", "dropped", "ended", "begun", "whole", "withdrawn", "missed", "stuck", "closed"}

func (e event) String() string { return eventNames[e] }

// statesTable prints all states with their duties, and all pairs of state and event, as docs/design.md has them.
func statesTable() []string {
	lines := []string{"| state | link carries it | rules steer to it | fallback table answers |", "|---|---|---|---|"}
	mark := map[bool]string{true: "yes", false: "no"}
	for s := range State(len(stateNames)) {
		b := book{addrs: Addresses{{State: s}}}
		carried, settling := len(b.carried()) > 0, len(b.steering().Settling) > 0
		steered, away := mark[len(b.steered()) > 0], mark[len(b.away()) > 0]
		switch {
		case settling && steered == "yes":
			steered = "new connections"
		case steered == "yes" && !carried:
			steered = "yes, without effect"
		}
		if away == "no" && !carried {
			away = "as nobody has it"
		}
		lines = append(lines, fmt.Sprintf("| %s | %s | %s | %s |", s, mark[carried], steered, away))
	}
	heads, rule := "| |", "|---|"
	for e := range event(len(eventNames)) {
		heads, rule = heads+" "+e.String()+" |", rule+"---|"
	}
	lines = append(lines, "", heads, rule)
	for s := range State(len(stateNames)) {
		row := fmt.Sprintf("| **%s** |", s)
		for e := range event(len(eventNames)) {
			to := next(s, e).String()
			if next(s, e) == s {
				to = "–"
			}
			row += " " + to + " |"
		}
		lines = append(lines, row)
	}
	return lines
}

// TestStates compares all pairs of state and event, and the duties, with what docs/design.md says.
func TestStates(t *testing.T) {
	lines := statesTable()
	nettest.Golden(t, "states.md", strings.Join(lines, "\n")+"\n")
	want, err := os.ReadFile("testdata/states.md")
	if err != nil {
		t.Fatal(err)
	}
	wanted := strings.Split(strings.TrimSpace(string(want)), "\n")
	if len(lines) != len(wanted) {
		t.Fatalf("%d lines, want %d", len(lines), len(wanted))
	}
	for i, line := range lines {
		if line != wanted[i] {
			t.Errorf("got\n%s\nwant\n%s", line, wanted[i])
		}
	}
	design, err := os.ReadFile("../../docs/design.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(design), string(want)) {
		t.Error("docs/design.md lacks the tables of testdata/states.md")
	}
}

// TestAfter has the time of a state be that of its beginning, or of the last time that rules were missing.
func TestAfter(t *testing.T) {
	first := time.Unix(1000, 0)
	a := Address{IP: nettest.Addrs("10.96.0.10")[0]}
	for i, tc := range []struct {
		event event
		state State
		since int // seconds
	}{
		{ended, Absent, 0}, {named, Standing, 1}, {named, Standing, 1}, {begun, Settling, 3}, {begun, Settling, 3}, {missed, Settling, 5},
		{whole, Steered, 6}, {missed, Settling, 7}, {stuck, Forsaken, 8}, {withdrawn, Standing, 9}, {dropped, Parting, 10}, {ended, Absent, 11},
	} {
		a = a.after(first.Add(time.Duration(i)*time.Second), tc.event)
		since := 0
		if !a.Since.IsZero() {
			since = int(a.Since.Sub(first) / time.Second)
		}
		if a.State != tc.state || since != tc.since {
			t.Errorf("%s: %s since %d, want %s since %d", tc.event, a.State, since, tc.state, tc.since)
		}
	}
}

// TestDuties has one address in each state, and looks at what follows from them.
func TestDuties(t *testing.T) {
	b := book{cfg: testConfig()}
	for s := range State(len(stateNames)) {
		b.addrs = append(b.addrs, Address{IP: nettest.Addrs(fmt.Sprintf("10.0.0.%d", s))[0], State: s})
	}
	s := b.steering()
	for _, tc := range []struct {
		what string
		got  any
		want string // the last numbers of the addresses, which are those of the states
	}{
		{"carried", b.carried(), "[10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.5]"},
		{"away", b.away(), "[10.0.0.1]"},
		{"steered", s.Steered, "[10.0.0.2 10.0.0.3 10.0.0.4]"},
		{"settling", s.Settling, "[10.0.0.2]"},
		{"addresses, which are the configuration's", s.Addresses, fmt.Sprint(testConfig().Addresses)},
		{"ports", []uint16{s.Port, s.HealthPort}, "[53 8080]"},
	} {
		if got := fmt.Sprint(tc.got); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.what, got, tc.want)
		}
	}
	if a := b.find(nettest.Addrs("192.0.2.1")[0]); a.State != Absent {
		t.Errorf("an address that the book lacks is %s", a.State)
	}
}
