// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
)

// waitPatience is how long something may be waited for before the log says so.
const waitPatience = 3 * time.Second

// A report collects lines for the log and changes of metrics, in order, as values: tests compare their text.
type report struct {
	entries    []entry
	said       map[string]string // what was logged last, by subject
	turnHolder func() string
}

// An entry is a line of the log, or a change of a metric. What is the line's level or the metric's name; text is the line, or
// the labels of a counter or the value of a gauge, with a space between.
type entry struct{ what, text string }

func (r *report) say(level, text string) { r.entries = append(r.entries, entry{level, text}) }

func (r *report) count(counter string, labels ...string) { r.say(counter, strings.Join(labels, " ")) }

func (r *report) set(gauge string, on bool) {
	r.say(gauge, map[bool]string{true: "1", false: "0"}[on])
}

// sayOnce logs a text about a subject, unless the news of the last text about it was the same.
func (r *report) sayOnce(subject, news, level, text string) {
	if r.said[subject] != news {
		r.said[subject] = news
		r.say(level, text)
	}
}

// trouble logs an error once, and that it is over.
func (r *report) trouble(subject string, err error) {
	if err != nil {
		r.sayOnce(subject, err.Error(), "error", err.Error())
	} else if _, ok := r.said[subject]; ok {
		delete(r.said, subject)
		r.say("info", "Resolved: the trouble with "+subject)
	}
}

// waiting returns what is to be called at each failed attempt to do what. After waitPatience it logs the error, once.
func (r *report) waiting(what string) func(error) {
	begun, said := time.Now(), false
	return func(err error) {
		if waited := time.Since(begun); !said && waited >= waitPatience {
			said = true
			log.Warningf("Still waiting to %s after %s: %s", what, waited.Round(time.Second), r.reason(err))
		}
	}
}

// reason returns the text of err. For ErrTurn it adds who holds the turn.
func (r *report) reason(err error) string {
	if errors.Is(err, hostnet.ErrTurn) {
		return fmt.Sprintf("%v: %s", err, r.turnHolder())
	}
	return err.Error()
}

// troubleWithRules counts and logs an error of the rules. ErrTurn is none: the other instance will be gone in a moment, and
// turnAwaited tells if not.
func (r *report) troubleWithRules(err error) {
	if errors.Is(err, hostnet.ErrTurn) {
		return
	}
	if err != nil {
		r.count("setup_errors", setupErrorType(hostnet.RulesError{Err: err}))
	}
	r.trouble("rules", err)
}

// turnAwaited counts and logs that another instance keeps the turn. Without the turn this one can neither steer nor repair.
func (r *report) turnAwaited(since, now time.Time) {
	const subject = "the right to change rules"
	switch {
	case since.IsZero():
		r.trouble(subject, nil)
	case now.Sub(since) > waitPatience:
		r.count("setup_errors", "turn")
		if r.said[subject] == "" {
			r.sayOnce(subject, "awaited", "error", fmt.Sprintf("Rules could not be changed for %s: %s", now.Sub(since).Round(time.Second), r.reason(hostnet.ErrTurn)))
		}
	}
}

// uplinks logs when the uplinks change: those at which the host's own firewall decides on DNS, and those at which DNS is accepted
// since pods may come in there.
func (r *report) uplinks(all []hostnet.Uplink) {
	ofPods := func(u hostnet.Uplink) bool { return u.Pods != "" }
	closed := addrList(slices.DeleteFunc(slices.Clone(all), ofPods))
	open := addrList(slices.DeleteFunc(slices.Clone(all), func(u hostnet.Uplink) bool { return !ofPods(u) }))
	r.sayOnce("uplinks", closed, "info", "DNS from outside is left to the host's firewall at the interface of the default route: "+cmp.Or(closed, "there is none"))
	r.sayOnce("ways of pods", open, "warning", fmt.Sprintf("DNS is accepted at the interface of the default route, since pods may come in there: %s; hosts outside may ask the cache, too", cmp.Or(open, "there is none any more")))
}

var (
	levels = map[string]func(...any){"info": log.Info, "warning": log.Warning, "error": log.Error}
	gauges = map[string]prometheus.Gauge{"link_present": linkPresent, "rules_present": rulesPresent}
)

// tell writes the lines and changes the metrics.
func (r *report) tell() {
	for _, e := range r.entries {
		if say, ok := levels[e.what]; ok {
			say(e.text)
		} else if g, ok := gauges[e.what]; ok {
			g.Set(float64(e.text[0] - '0'))
		} else {
			counters[e.what].WithLabelValues(strings.Fields(e.text)...).Inc()
		}
	}
	r.entries = nil
}

// setupErrorType is the reference's name for where an error belongs.
func setupErrorType(err error) string {
	switch {
	case errors.Is(err, hostnet.ErrLocked):
		return "iptables_lock"
	case errors.As(err, new(hostnet.RulesError)):
		return "iptables"
	}
	return "interface_add"
}

func addrList[T fmt.Stringer](addrs []T) string {
	s := make([]string, len(addrs))
	for i, a := range addrs {
		s[i] = a.String()
	}
	return strings.Join(s, " ")
}

// sayLeft logs which addresses the fallback table that is left on the node answers for.
func sayLeft(addrs []netip.Addr) {
	if len(addrs) > 0 {
		log.Infof("Left on the node: the fallback table (nftables, nodelocaldns_fallback), which answers for %s while no cache runs (nodelocaldns cleanup removes it)", addrList(addrs))
	}
}
