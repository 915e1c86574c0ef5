// SPDX-License-Identifier: Apache-2.0

package nodelocal

import "time"

// leave takes steering away and answers what is left; the servers still run.
func (n *node) leave() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.leaveLocked()
}

func (n *node) leaveLocked() {
	if n.network == nil || n.leaving {
		return
	}
	if n.settings.SkipTeardown {
		n.leaving = true
		n.steered.Store(false)
		log.Info("Leaving rules and link in place (skip_teardown)")
		return
	}
	n.withdraw("shutdown", "shutting down")
}

// withdraw takes steering away for good. Reason is for the metric and why for the log.
func (n *node) withdraw(reason, why string) {
	n.leaving = true
	n.steered.Store(false)
	steered := len(n.network.Steered()) > 0
	var waiting wait
	n.supervisor.report("withdraw", n.network.Withdraw(withdrawPatience, func(err error) { waiting.on("take steering away", err) }))
	if steered {
		withdrawals.WithLabelValues(reason).Inc()
		log.Infof("Steering off: %s", why)
		n.supervisor.publish()
	}
	if steered || n.supervisor.heard {
		n.drain()
	}
}

// drain waits until the queries that have arrived are read.
func (n *node) drain() {
	for begin, empty := time.Now(), 0; time.Since(begin) < drainMax; time.Sleep(10 * time.Millisecond) {
		queued, err := n.network.Queued()
		if err != nil || queued > 0 {
			empty = 0
			continue
		}
		if empty++; empty > 1 && time.Since(begin) >= drainMin {
			return
		}
	}
}

// close takes away the rest; the servers must have stopped.
func (n *node) close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.leaveLocked()
	return n.closeLocked()
}

func (n *node) closeLocked() error {
	n.unwatch()
	if n.network == nil {
		return nil
	}
	n.leaveLocked()
	n.supervisor.stop()
	err := n.network.Close(n.settings.SkipTeardown)
	sayLeft(n.network.FallbackAddresses())
	n.network, n.leaving = nil, false
	return err
}
