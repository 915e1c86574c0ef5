// SPDX-License-Identifier: Apache-2.0

package main

import "math"

// The times of the default template, in seconds, and its prefetch: an answer for which two clients have asked is renewed in the
// last fifth of its time.
const (
	positiveLife = 30.0
	denialLife   = 5.0
	fresh        = 0.8 // share of the life before prefetch
	packetLife   = 1.0 // of packetcache
	cutLife      = 4.0 // of a denial in searchpath, which does not use the last of the 5 s
	auditAgain   = 600.0
	maxAudits    = 1.0 // a second
	auditBurst   = 4.0 // at once, after a start
)

// plugins are those that change what the cluster DNS is asked.
type plugins struct{ Keep, Searchpath, Hedge bool }

// model computes what one node asks the cluster DNS.
type model struct {
	workload
	plugins
}

// life is the time for which the cache keeps the answers of the class, in seconds.
func (c class) life() float64 {
	if c == positive {
		return positiveLife
	}
	return denialLife
}

// residual is the mean time, in seconds, until the next query of a question passes the packet cache. The packet cache lets a query
// pass, answers the next ones for packetLife, and waits for the one after. So the time between two is packetLife and an
// exponentially distributed time. The mean of what is left of such an interval is E[X²]/2E[X].
func (q question) residual() float64 {
	between := packetLife + 1/q.rate
	return (between*between + 1/(q.rate*q.rate)) / (2 * between)
}

// held is the mean time, in seconds, for which the cache does not ask again after an answer. An answer that came by prefetch may be
// prefetched again. An answer that came for a client is prefetched only if another client asked for it before.
func (q question) held() (mean float64, prefetched float64) {
	life := q.class.life()
	inTime := 1 - math.Exp(-(1-fresh)*life*q.rate)
	askedBefore := 1 - math.Exp(-fresh*life*q.rate)
	prefetched = askedBefore * inTime / (1 - inTime + askedBefore*inTime)
	return life * (fresh + (1-fresh)*(1-prefetched)*(1-askedBefore)), prefetched
}

// steady is the rate at which the question is asked of the cluster DNS, a second.
func (q question) steady() float64 {
	held, _ := q.held()
	return 1 / (held + q.residual())
}

// cold is the mean number of times that the question is asked of the cluster DNS in the first w seconds of a cache that begins
// without answers. The first time is exponentially distributed. The next ones follow after held and an exponentially distributed
// time each, so the n-th is within w if a sum of n such times is within what held leaves.
func (q question) cold(w float64) (mean float64) {
	held, _ := q.held()
	for n := 1; w > 0; n, w = n+1, w-held {
		mean += erlang(n, q.rate*w)
	}
	return mean
}

// erlang is the probability that the sum of n exponentially distributed times with mean 1 is less than x.
func erlang(n int, x float64) float64 {
	term, sum := math.Exp(-x), 0.0
	for i := range n {
		sum += term
		term *= x / float64(i+1)
	}
	return 1 - sum
}

// kept is the mean number of times that the question is asked in the w seconds after a start with the answers that keep has kept.
// keep answers until the end of the life, without prefetch: an answer that would have been renewed early lasts until its end.
func (q question) kept(w float64) float64 {
	_, prefetched := q.held()
	later := max(0, w-(1-fresh)*q.class.life())
	return q.steady() * (prefetched*later + (1-prefetched)*w)
}

// steady is the rate at which a node asks the cluster DNS, a second.
func (m model) steady() float64 {
	return m.sum(question.steady) + m.cuts() + m.audits()
}

// start is the mean number of questions of a node in the w seconds after a reload or a restart of its cache.
func (m model) start(w float64) float64 {
	ask := func(q question) float64 { return q.cold(w) }
	if m.Keep {
		ask = func(q question) float64 { return q.kept(w) }
	}
	return m.sum(ask) + m.learned() + (m.cuts()+m.audits())*w
}

// outage is the mean number of questions of a node in w seconds after the cluster DNS was away for the time away, in seconds. A
// question that was due meanwhile has failed. It is asked when a client asks again.
func (m model) outage(away, w float64) float64 {
	ask := func(q question) float64 { return q.steady() * (w + away*(1-math.Exp(-q.rate*w))) }
	return m.sum(ask) + (m.cuts()+m.audits())*w
}

// excess is what a start brings beyond the steady state, until the cache has all answers again. It is below 0 if keep answers for
// longer than the cache would have.
func (m model) excess() float64 { return m.start(positiveLife) - m.steady()*positiveLife }

// sum adds up the questions that searchpath does not answer.
func (m model) sum(each func(question) float64) (sum float64) {
	for _, q := range m.questions() {
		if q.class != denied || !m.Searchpath {
			sum += each(q)
		}
	}
	return sum
}

// cuts is the rate at which searchpath asks whether its cuts still hold, a second. A cut is asked for again when its time is over
// and the next query for a name below it passes the cache.
func (m model) cuts() float64 {
	if !m.Searchpath || m.Outside == 0 {
		return 0
	}
	missed := 0.0
	for _, q := range m.questions() {
		if q.class == denied {
			missed += q.steady()
		}
	}
	number := float64(len(searched) * len(topLevel))
	return number / (cutLife + number/missed)
}

// audits is the rate at which searchpath checks its own answers, a second. Each question is checked once in auditAgain.
func (m model) audits() (rate float64) {
	if !m.Searchpath {
		return 0
	}
	for _, q := range m.questions() {
		if q.class == denied {
			rate += 1 / (auditAgain + 1/q.rate)
		}
	}
	return min(rate, maxAudits)
}

// learned is what searchpath asks to learn its cuts again after a start, beyond the questions of cuts: a name below each cut for A
// and for AAAA, since no denial is likely yet, and half a question for the cut on average. The first of these comes at once,
// while a cut that is known is asked for after half of its time on average. The first audits come at once, too.
func (m model) learned() float64 {
	if !m.Searchpath || m.Outside == 0 {
		return 0
	}
	return 2.5*float64(len(searched)*len(topLevel)) + auditBurst
}
