// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
)

// steer makes the steering follow the health; what fails is tried again in the
// next round. Why and reason are for the log and the metric, if it goes off.
func (v *supervisor) steer(why, reason string) bool {
	var want []netip.Addr
	for _, a := range v.s.Addresses {
		if v.health[a].on {
			want = append(want, a)
		}
	}
	have := v.node.network.Steered()
	done := slices.Equal(want, have) || v.joining() && len(without(have, want)) == 0
	if done && len(v.forsaken) == 0 {
		err := v.node.network.Settle()
		v.reportRules(err)
		if len(want) < len(v.s.Addresses) && time.Since(v.begun) > startPatience {
			v.say("waiting", "Steering stays off: the cache does not answer at "+addrList(v.off()))
		}
		return err == nil
	}
	err := v.node.network.Steer(want)
	v.reportRules(err)
	if err != nil {
		rulesPresent.Set(0)
		if !errors.Is(err, hostnet.ErrTurn) { // who is leaving has taken the rules off
			v.forsake(without(have, want), why, reason)
		}
		return false
	}
	off := without(without(have, want), v.forsaken)
	v.forsaken, v.bare = nil, false
	v.node.warn()
	delete(v.said, "waiting")
	if len(off) > 0 {
		withdrawals.WithLabelValues(reason).Inc()
		log.Warningf("Steering off: %s: %s; the cluster DNS answers now", addrList(off), why)
	}
	if len(want) > 0 {
		log.Infof("Steering on: %s (%s)", addrList(want), v.node.network)
	}
	return true
}

// forsake takes addresses away whose rules cannot be taken out.
func (v *supervisor) forsake(off []netip.Addr, why, reason string) {
	if len(off) == 0 || v.s.Link == hostnet.None {
		return
	}
	v.report("lease", v.node.network.Forsake(off))
	if added := without(off, v.forsaken); len(added) > 0 {
		withdrawals.WithLabelValues(reason).Inc()
		log.Warningf("Steering off: %s: %s; the rules cannot be changed, so the address goes; the cluster DNS answers now", addrList(added), why)
	}
	v.forsaken = off
}

// forgive has the addresses back that were taken away, for servers that are about to listen there.
func (v *supervisor) forgive() {
	if len(v.forsaken) > 0 {
		v.forsaken = nil
		v.report("lease", v.node.network.Forsake(nil))
	}
}

// joining reports whether another instance alone answers at an address that
// this one does not steer. The rules are shared: to set them for the others now
// would withdraw that one from under the other instance.
func (v *supervisor) joining() bool {
	for _, h := range v.health {
		if h.foreign && !h.on {
			return true
		}
	}
	return false
}

func (v *supervisor) off() []netip.Addr {
	return without(v.s.Addresses, v.node.network.Steered())
}

// complete reports whether every address is steered.
func (v *supervisor) complete() bool {
	return len(without(v.node.network.Steered(), v.forsaken)) == len(v.s.Addresses)
}

func without(addrs, taken []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return slices.Contains(taken, a) })
}
