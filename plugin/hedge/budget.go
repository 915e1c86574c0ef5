// SPDX-License-Identifier: Apache-2.0

package hedge

import "sync"

// A budget bounds the attempts beside other attempts. In the long run they are a share of the questions. Without a budget the
// additional attempts would make a slow upstream slower.
type budget struct {
	share float64 // attempts that each question earns
	burst float64 // bound of saved

	mu    sync.Mutex
	saved float64
}

// budgets are the budgets of one directive: slow for attempts beside an acknowledged one, lost for attempts beside one that has
// no acknowledgement. An acknowledged attempt has arrived, so another attempt doubles the work of the upstream. An attempt
// without an acknowledgement was probably lost, so another attempt is the first that the upstream sees. The budget lost bounds
// the packets that an overloaded network gets.
type budgets struct{ slow, lost budget }

func newBudgets() *budgets {
	return &budgets{slow: budget{share: 0.03, burst: 32, saved: 32}, lost: budget{share: 1, burst: 128, saved: 128}}
}

// earn is called for each question.
func (b *budgets) earn() {
	b.slow.earn()
	b.lost.earn()
}

// spend reports whether a question may be sent once more. lost says that the latest attempt has no acknowledgement.
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

// spend reports whether one more attempt may begin, and counts the attempt.
func (b *budget) spend() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.saved < 1 {
		return false
	}
	b.saved--
	return true
}
