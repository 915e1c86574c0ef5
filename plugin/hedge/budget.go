// SPDX-License-Identifier: Apache-2.0

package hedge

import "sync"

// A budget bounds the attempts beside others, in the long run to a share of the questions. Without a bound an upstream
// that is too slow would get slower by them.
type budget struct {
	share float64 // what a question adds
	burst float64 // the most that is saved

	mu    sync.Mutex
	saved float64
}

// budgets are those of one directive. An attempt that is acknowledged has arrived, and its answer may still come: another
// one is twice the work for the upstream. One that is not acknowledged was most likely lost, and the next one is the first
// that the upstream sees. But a network that loses packets because it has too many must not get ever more.
type budgets struct{ slow, lost budget }

func newBudgets() *budgets {
	return &budgets{slow: budget{share: 0.03, burst: 32, saved: 32}, lost: budget{share: 1, burst: 128, saved: 128}}
}

// earn is called for each question.
func (b *budgets) earn() {
	b.slow.earn()
	b.lost.earn()
}

// spend reports whether a question may be sent again beside an attempt; lost says that that one has not arrived.
func (b *budgets) spend(lost bool) bool {
	if lost {
		return b.lost.spend()
	}
	return b.slow.spend()
}

func (b *budget) earn() {
	b.mu.Lock()
	b.saved = min(b.saved+b.share, b.burst)
	b.mu.Unlock()
}

// spend reports whether one more attempt may begin.
func (b *budget) spend() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.saved < 1 {
		return false
	}
	b.saved--
	return true
}
