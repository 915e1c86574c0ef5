// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
)

// waitPatience is how long something may be waited for before the log says so.
const waitPatience = 3 * time.Second

// A wait is since when this process waits for something that another process holds. Its zero value is ready.
type wait struct {
	begun time.Time
	said  bool
}

// on notes that this process still waits to do what, because of err. After waitPatience it logs that, once.
func (w *wait) on(what string, err error) {
	if w.begun.IsZero() {
		w.begun = time.Now()
	}
	if w.said || time.Since(w.begun) < waitPatience {
		return
	}
	w.said = true
	log.Warningf("Still waiting to %s after %s: %s", what, time.Since(w.begun).Round(time.Second), reason(err))
}

// reason returns the text of err. For ErrTurn it adds who holds the turn.
func reason(err error) string {
	if errors.Is(err, hostnet.ErrTurn) {
		return fmt.Sprintf("%v: %s", err, hostnet.TurnHolder())
	}
	return err.Error()
}

// reportRules counts and logs an error of the rules.
func (v *supervisor) reportRules(err error) {
	if errors.Is(err, hostnet.ErrTurn) {
		return // the other instance will be gone in a moment; reportTurn tells if not
	}
	if err != nil {
		SetupErrors.WithLabelValues(ruleErrorType(err)).Inc()
	}
	v.report("rules", err)
}

// reportTurn counts and logs that another instance keeps the turn. Without the turn this one can neither steer nor repair.
func (v *supervisor) reportTurn() {
	const subject = "the right to change rules"
	switch since := v.node.network.TurnAwaited(); {
	case since.IsZero():
		v.report(subject, nil)
	case time.Since(since) > waitPatience:
		SetupErrors.WithLabelValues("turn").Inc()
		if _, ok := v.said[subject]; !ok {
			v.say(subject, fmt.Sprintf("Rules could not be changed for %s: %s", time.Since(since).Round(time.Second), reason(hostnet.ErrTurn)))
		}
	}
}

// sayUplinks logs when the uplinks change: those at which the host's own firewall decides on DNS, and those at which DNS is
// accepted since pods may come in there.
func (v *supervisor) sayUplinks() {
	var closed, open []hostnet.Uplink
	for _, u := range v.node.network.Uplinks() {
		if u.Pods == "" {
			closed = append(closed, u)
		} else {
			open = append(open, u)
		}
	}
	if text := addrList(closed); text != v.said["uplinks"] {
		v.said["uplinks"] = text
		log.Infof("DNS from outside is left to the host's firewall at the interface of the default route: %s", cmp.Or(text, "there is none"))
	}
	if text := addrList(open); text != v.said["ways of pods"] {
		v.said["ways of pods"] = text
		log.Warningf("DNS is accepted at the interface of the default route, since pods may come in there: %s; hosts outside may ask the cache, too", cmp.Or(text, "there is none any more"))
	}
}

// report logs an error once, and that it is over.
func (v *supervisor) report(subject string, err error) {
	if err != nil {
		v.say(subject, err.Error())
	} else if _, ok := v.said[subject]; ok {
		delete(v.said, subject)
		log.Infof("Over: the trouble with %s", subject)
	}
}

func (v *supervisor) say(subject, text string) {
	if v.said[subject] != text {
		v.said[subject] = text
		log.Error(text)
	}
}

// publish updates the readiness, and what the metric of the steering is computed from.
func (v *supervisor) publish() {
	steered := without(v.node.network.Steered(), v.forsaken)
	if v.bare {
		steered = nil
	}
	belief.Store(&steering{v.s.Config, steered})
	v.node.steered.Store(v.complete() && !v.node.leaving)
}
