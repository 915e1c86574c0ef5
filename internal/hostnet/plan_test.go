// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

var planTime = time.Unix(1000, 0)

// haveOf reads addresses with their states, each an hour old: "10.96.0.10 steered, 169.254.20.10 standing".
func haveOf(cfg Config, text string) have {
	h := have{book: book{cfg: cfg}, settles: true}
	h.cfg.Addresses = nil
	for one := range strings.SplitSeq(text, ", ") {
		ip, name, _ := strings.Cut(one, " ")
		a := Address{IP: netip.MustParseAddr(ip), Since: planTime.Add(-time.Hour)}
		for s := range State(len(stateNames)) {
			if strings.HasPrefix(name, s.String()) {
				a.State = s
			}
		}
		if strings.HasSuffix(name, " now") {
			a.Since = planTime
		}
		if a.State != Parting {
			h.cfg.Addresses = append(h.cfg.Addresses, a.IP)
		}
		h.addrs = append(h.addrs, a)
	}
	return h
}

func (b book) text() string {
	var out []string
	for _, a := range b.addrs {
		out = append(out, fmt.Sprintf("%s %s", a.IP, a.State))
	}
	return strings.Join(out, ", ")
}

// String describes the step as the tests have it.
func (s step) String() string {
	switch s.verb {
	case setRules:
		rules := s.to.steering()
		text := "rules: steer " + listed(rules.Steered)
		if len(rules.Settling) > 0 {
			text += "; new connections only: " + listed(rules.Settling)
		}
		return text
	case dropRules:
		return step{setRules, s.to}.String() + ", if they can be read"
	case setFallback:
		return "fallback: answers for " + listed(s.to.away())
	case setLink:
		return "link: carries " + listed(s.to.carried())
	}
	return map[verb]string{
		yieldSource: "host: uses another source address", drainQueues: "servers: read what has arrived",
		replaceFirewall: "firewall: another one, and the rules of the old one go", renewFallback: "fallback: of another configuration",
		replaceLink: "link: another one", watchLink: "link: watched anew",
	}[s.verb]
}

func listed(addrs []netip.Addr) string {
	if len(addrs) == 0 {
		return "nothing"
	}
	return strings.Trim(fmt.Sprint(addrs), "[]")
}

// TestPlan compares the steps of each change with text.
func TestPlan(t *testing.T) {
	const both = "169.254.20.10 10.96.0.10"
	for _, tc := range []struct {
		name, have string
		trust      trust
		want       string // addresses that are wanted; empty: those there are
		steered    string
		servers    Servers
		change     func(*Config)
		settleless bool
		steps      string
		book       string // in the end
	}{
		{name: "nothing to do", have: "169.254.20.10 steered, 10.96.0.10 standing", steered: "169.254.20.10",
			book: "169.254.20.10 steered, 10.96.0.10 standing"},
		{name: "the first answer", have: "169.254.20.10 standing, 10.96.0.10 standing", steered: "10.96.0.10", steps: `
fallback: answers for 169.254.20.10
rules: steer 10.96.0.10; new connections only: 10.96.0.10`,
			book: "169.254.20.10 standing, 10.96.0.10 settling"},
		{name: "without a fallback table", have: "169.254.20.10 standing, 10.96.0.10 standing", steered: both, settleless: true, steps: `
fallback: answers for nothing
rules: steer 169.254.20.10 10.96.0.10`,
			book: "169.254.20.10 steered, 10.96.0.10 steered"},
		{name: "deaf", have: "169.254.20.10 steered, 10.96.0.10 steered", steered: "10.96.0.10", steps: `
rules: steer 10.96.0.10
fallback: answers for 169.254.20.10`,
			book: "169.254.20.10 standing, 10.96.0.10 steered"},
		{name: "one for the other", have: "169.254.20.10 steered, 10.96.0.10 standing", steered: "10.96.0.10", steps: `
fallback: answers for 169.254.20.10
rules: steer 10.96.0.10; new connections only: 10.96.0.10`,
			book: "169.254.20.10 standing, 10.96.0.10 settling"},
		{name: "still settling", have: "169.254.20.10 settling, 10.96.0.10 settling now", steered: both,
			book: "169.254.20.10 settling, 10.96.0.10 settling"},
		{name: "settled", have: "169.254.20.10 settling, 10.96.0.10 steered", steered: both, steps: `
rules: steer 169.254.20.10 10.96.0.10`,
			book: "169.254.20.10 steered, 10.96.0.10 steered"},
		{name: "settled, and another begins", have: "169.254.20.10 settling, 10.96.0.10 standing", steered: both, steps: `
fallback: answers for nothing
rules: steer 169.254.20.10 10.96.0.10; new connections only: 10.96.0.10`,
			book: "169.254.20.10 steered, 10.96.0.10 settling"},
		{name: "forsaken", have: "169.254.20.10 forsaken, 10.96.0.10 steered", trust: doubted, steered: "10.96.0.10", steps: `
rules: steer 10.96.0.10
fallback: answers for 169.254.20.10
link: carries 169.254.20.10 10.96.0.10`,
			book: "169.254.20.10 standing, 10.96.0.10 steered"},
		{name: "forsaken, and heard again", have: "169.254.20.10 forsaken", trust: doubted, steered: "169.254.20.10", steps: `
fallback: answers for nothing
rules: steer 169.254.20.10; new connections only: 169.254.20.10
link: carries 169.254.20.10`,
			book: "169.254.20.10 settling"},
		{name: "in doubt", have: "169.254.20.10 steered", trust: doubted, steered: "169.254.20.10", steps: `
fallback: answers for nothing
rules: steer 169.254.20.10`,
			book: "169.254.20.10 steered"},
		{name: "bare, which Check puts back", have: "169.254.20.10 steered", trust: bare, steered: "169.254.20.10",
			book: "169.254.20.10 steered"},
		{name: "a reload of the same", have: "169.254.20.10 steered, 10.96.0.10 standing", servers: ServersStarting,
			book: "169.254.20.10 steered, 10.96.0.10 standing"},
		{name: "a reload of the same, forsaken", have: "169.254.20.10 forsaken, 10.96.0.10 standing", trust: doubted, servers: ServersStarting, steps: `
link: carries 169.254.20.10 10.96.0.10`,
			book: "169.254.20.10 settling, 10.96.0.10 standing"},
		{name: "a reload of the same after one that failed", have: "169.254.20.10 steered", trust: reverted, servers: ServersStarting, steps: `
fallback: of another configuration
fallback: answers for nothing
rules: steer 169.254.20.10
link: watched anew
link: carries 169.254.20.10`,
			book: "169.254.20.10 steered"},
		{name: "a round after a reload that failed", have: "169.254.20.10 steered", trust: reverted, steered: "169.254.20.10", steps: `
fallback: answers for nothing
rules: steer 169.254.20.10`,
			book: "169.254.20.10 steered"},
		{name: "another address", have: "169.254.20.10 steered, 10.96.0.10 steered", want: "169.254.20.10 10.96.0.11", servers: ServersStarting, steps: `
fallback: of another configuration
rules: steer 169.254.20.10
fallback: answers for 10.96.0.11
link: watched anew
link: carries 169.254.20.10 10.96.0.11 10.96.0.10`,
			book: "169.254.20.10 steered, 10.96.0.11 standing, 10.96.0.10 parting"},
		{name: "both servers", have: "169.254.20.10 steered, 10.96.0.11 standing, 10.96.0.10 parting", want: "169.254.20.10 10.96.0.11",
			steered: "169.254.20.10 10.96.0.11", servers: BothServers, steps: `
fallback: answers for nothing
rules: steer 169.254.20.10 10.96.0.11; new connections only: 10.96.0.11`,
			book: "169.254.20.10 steered, 10.96.0.11 settling, 10.96.0.10 parting"},
		{name: "the old servers have ended", have: "169.254.20.10 steered, 10.96.0.10 parting", want: "169.254.20.10", steered: "169.254.20.10", steps: `
link: carries 169.254.20.10`,
			book: "169.254.20.10 steered"},
		{name: "an address comes back", have: "169.254.20.10 steered, 10.96.0.10 parting", want: both, servers: ServersStarting, steps: `
fallback: of another configuration
fallback: answers for 10.96.0.10
rules: steer 169.254.20.10
link: watched anew
link: carries 169.254.20.10 10.96.0.10`,
			book: "169.254.20.10 steered, 10.96.0.10 standing"},
		{name: "another link", have: "169.254.20.10 steered", servers: ServersStarting, change: func(c *Config) { c.Interface = "dns0" }, steps: `
rules: steer nothing
fallback: answers for 169.254.20.10
host: uses another source address
servers: read what has arrived
fallback: of another configuration
fallback: answers for 169.254.20.10
rules: steer nothing
link: another one
link: watched anew
link: carries 169.254.20.10`,
			book: "169.254.20.10 standing"},
		{name: "another firewall", have: "169.254.20.10 settling now", servers: ServersStarting, change: func(c *Config) { c.Firewall = IPTables }, steps: `
rules: steer nothing, if they can be read
fallback: answers for 169.254.20.10
servers: read what has arrived
firewall: another one, and the rules of the old one go
fallback: of another configuration
fallback: answers for 169.254.20.10
rules: steer nothing
link: watched anew
link: carries 169.254.20.10`,
			book: "169.254.20.10 standing"},
		{name: "another family", have: "169.254.20.10 standing", want: "169.254.20.10 fd00::10", servers: ServersStarting, steps: `
fallback: answers for 169.254.20.10
rules: steer nothing, if they can be read
servers: read what has arrived
firewall: another one, and the rules of the old one go
fallback: of another configuration
fallback: answers for 169.254.20.10 fd00::10
rules: steer nothing
link: watched anew
link: carries 169.254.20.10 fd00::10`,
			book: "169.254.20.10 standing, fd00::10 standing"},
		{name: "another port", have: "169.254.20.10 steered", servers: ServersStarting, change: func(c *Config) { c.Port = 5353 }, steps: `
rules: steer nothing
fallback: answers for 169.254.20.10
servers: read what has arrived
fallback: of another configuration
fallback: answers for 169.254.20.10
rules: steer nothing
link: watched anew
link: carries 169.254.20.10`,
			book: "169.254.20.10 standing"},
		{name: "back after a change of link that failed", have: "169.254.20.10 standing", trust: halfway, servers: ServersStarting, steps: `
fallback: answers for 169.254.20.10
rules: steer nothing, if they can be read
host: uses another source address
servers: read what has arrived
firewall: another one, and the rules of the old one go
fallback: of another configuration
fallback: answers for 169.254.20.10
rules: steer nothing
link: another one
link: watched anew
link: carries 169.254.20.10`,
			book: "169.254.20.10 standing"},
		{name: "a round after a change of link that failed", have: "169.254.20.10 standing", trust: halfway,
			book: "169.254.20.10 standing"},
		{name: "another lease", have: "169.254.20.10 steered", servers: ServersStarting, change: func(c *Config) { c.Lease = time.Minute }, steps: `
fallback: of another configuration
fallback: answers for nothing
rules: steer 169.254.20.10
link: watched anew
link: carries 169.254.20.10`,
			book: "169.254.20.10 steered"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := haveOf(testConfig(), tc.have)
			h.trust, h.settles = tc.trust, !tc.settleless
			w := Want{Config: h.cfg, Steered: nettest.Addrs(tc.steered), Servers: tc.servers}
			if tc.want != "" {
				w.Config.Addresses = nettest.Addrs(tc.want)
			}
			if tc.change != nil {
				tc.change(&w.Config)
			}
			got := ""
			for _, s := range plan(h, w, planTime) {
				got += "\n" + s.String()
			}
			if got != tc.steps {
				t.Errorf("got:%s\n\nwant:%s", got, tc.steps)
			}
			if got := h.target(w, planTime).text(); got != tc.book {
				t.Errorf("in the end %s, want %s", got, tc.book)
			}
		})
	}
}

// TestPlanLeave compares the steps on the way out.
func TestPlanLeave(t *testing.T) {
	const rules = "rules: steer nothing\nfallback: answers for 169.254.20.10"
	const yield = "host: uses another source address"
	for _, tc := range []struct {
		name, have      string
		alone, outlives bool
		want            string
	}{
		{"alone", "169.254.20.10 steered", true, false, yield + "\n" + rules},
		{"a link that outlives the process", "169.254.20.10 settling", true, true, rules + "\n" + yield},
		{"beside another instance", "169.254.20.10 forsaken", false, false, rules},
		{"nothing steered", "169.254.20.10 standing", false, true, "fallback: answers for 169.254.20.10\nrules: steer nothing"},
	} {
		var got []string
		for _, s := range planLeave(haveOf(testConfig(), tc.have), tc.alone, tc.outlives, planTime) {
			got = append(got, s.String())
		}
		if got := strings.Join(got, "\n"); got != tc.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tc.name, got, tc.want)
		}
	}
}

// TestRevert has steps to another configuration fail: after none of them, after the rules, after all but the link.
func TestRevert(t *testing.T) {
	before := haveOf(testConfig(), "169.254.20.10 steered, 10.96.0.10 settling, fd00::10 standing, fd00::11 parting").book
	for _, tc := range []struct{ reached, want string }{
		{"169.254.20.10 steered, 10.96.0.10 settling, fd00::10 standing, fd00::11 parting", "169.254.20.10 steered, 10.96.0.10 settling, fd00::10 standing, fd00::11 parting"},
		{"169.254.20.10 standing, 10.96.0.10 standing, fd00::10 standing, fd00::11 parting", "169.254.20.10 standing, 10.96.0.10 standing, fd00::10 standing, fd00::11 parting"},
		{"169.254.20.10 steered, 10.96.0.12 standing, 10.96.0.10 parting", "169.254.20.10 steered, 10.96.0.10 standing, fd00::10 standing, fd00::11 parting"},
	} {
		if got := before.revert(haveOf(testConfig(), tc.reached).book, planTime); got.text() != tc.want || !got.cfg.Equal(before.cfg) {
			t.Errorf("got %s, want %s", got.text(), tc.want)
		}
	}
}
