// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
)

// TestTrouble logs each text once, and the end of it.
func TestTrouble(t *testing.T) {
	r := newHistory(nil).report
	broken, worse := errors.New("broken"), errors.New("worse")
	for i, step := range []struct {
		subject string
		err     error
		want    string
	}{
		{"lease", nil, ""},
		{"lease", broken, "error: broken"},
		{"lease", broken, ""},
		{"rules", broken, "error: broken"},
		{"lease", worse, "error: worse"},
		{"lease", nil, "info: Resolved: the trouble with lease"},
		{"lease", nil, ""},
		{"rules", nil, "info: Resolved: the trouble with rules"},
		{"lease", worse, "error: worse"},
	} {
		if r.trouble(step.subject, step.err); r.text() != step.want {
			t.Errorf("step %d: want %q", i, step.want)
		}
	}
}

func TestTroubleWithRules(t *testing.T) {
	r := newHistory(nil).report
	for i, step := range []struct {
		err  error
		want string
	}{
		{errBroken, "setup_errors: iptables\nerror: it is broken"},
		{errBroken, "setup_errors: iptables"},
		{hostnet.ErrTurn, ""},
		{hostnet.ErrLocked, "setup_errors: iptables_lock\nerror: another program holds the xtables lock"},
		{nil, "info: Resolved: the trouble with rules"},
	} {
		r.troubleWithRules(step.err)
		if got := r.text(); got != step.want {
			t.Errorf("step %d: got\n%s\nwant\n%s", i, got, step.want)
		}
	}
}

func TestTurnIsAwaited(t *testing.T) {
	asked := 0
	r := newHistory(func() string { asked++; return "somebody holds it" }).report
	const line = "setup_errors: turn\nerror: Rules could not be changed for 4s: another instance on this node is leaving: somebody holds it"
	for i, step := range []struct {
		since, now float64
		want       string
	}{
		{0, 0, ""},
		{1, 4, ""},
		{1, 4.5, line},
		{1, 5.5, "setup_errors: turn"},
		{0, 6, "info: Resolved: the trouble with the right to change rules"},
		{7, 11, line},
	} {
		since := time.Time{}
		if step.since > 0 {
			since = after(step.since)
		}
		r.turnAwaited(since, after(step.now))
		if got := r.text(); got != step.want {
			t.Errorf("step %d: got\n%s\nwant\n%s", i, got, step.want)
		}
	}
	if asked != 2 {
		t.Errorf("/proc was looked at %d times, for two lines", asked)
	}
}

// TestTell changes the metrics.
func TestTell(t *testing.T) {
	r := newHistory(nil).report
	before := testutil.ToFloat64(repairs.WithLabelValues("rules"))
	for _, on := range []bool{true, false} {
		r.set("rules_present", on)
		r.set("link_present", !on)
		r.count("repairs", "rules")
		r.tell()
		r.tell() // nothing
		rules, link := testutil.ToFloat64(rulesPresent), testutil.ToFloat64(linkPresent)
		if rules != map[bool]float64{true: 1}[on] || link != map[bool]float64{false: 1}[on] {
			t.Errorf("rules %v, link %v", rules, link)
		}
	}
	if got := testutil.ToFloat64(repairs.WithLabelValues("rules")); got != before+2 {
		t.Errorf("%v repairs were counted", got-before)
	}
}

// TestErrorTypes are labels of a metric that there was before this program.
func TestErrorTypes(t *testing.T) {
	for want, err := range map[string]error{
		"iptables":      fmt.Errorf("at start: %w", errBroken),
		"iptables_lock": hostnet.RulesError{Err: fmt.Errorf("setting rules: %w", hostnet.ErrLocked)},
		"interface_add": errors.New("adding 10.0.0.1 to the link of tables"),
	} {
		if got := setupErrorType(err); got != want {
			t.Errorf("%v: got %s, want %s", err, got, want)
		}
	}
}
