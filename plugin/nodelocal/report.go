// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"errors"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
)

// reportRules counts and logs an error of the rules.
func (v *supervisor) reportRules(err error) {
	if errors.Is(err, hostnet.ErrTurn) {
		return // the other instance will be gone in a moment
	}
	if err != nil {
		SetupErrors.WithLabelValues(ruleErrorType(err)).Inc()
	}
	v.report("rules", err)
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

// publish brings what the metric of the steering rests on, and the readiness, up to date.
func (v *supervisor) publish() {
	belief.Store(&steering{v.s.Config, without(v.node.network.Steered(), v.forsaken)})
	v.node.steered.Store(v.complete() && !v.node.leaving)
}
