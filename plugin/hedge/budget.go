// SPDX-License-Identifier: Apache-2.0

package hedge

import "sync"

// budgets bound the attempts of one directive beside other attempts. In the long run they are a share of the questions. Without
// budgets the additional attempts would make a slow upstream slower.
//
// The budget slow is for attempts beside an acknowledged one, and the budget lost for attempts beside one that has no
// acknowledgement. An acknowledged attempt has arrived, so another attempt doubles the work of the upstream. An attempt without an
// acknowledgement was probably lost, so another attempt is the first that the upstream sees. The budget lost bounds the packets
// that an overloaded network gets.
type budgets struct {
	mu         sync.Mutex
	slow, lost float64 // saved attempts
}

// Each question earns attempts, and a budget saves attempts up to its bound.
const (
	slowShare, slowBound = 0.03, 32
	lostShare, lostBound = 1, 128
)

func newBudgets() *budgets { return &budgets{slow: slowBound, lost: lostBound} }

// earn is called for each question.
func (b *budgets) earn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.slow, b.lost = min(b.slow+slowShare, slowBound), min(b.lost+lostShare, lostBound)
}

// spend reports whether a question may be sent once more, and counts the attempt. lost says that the latest attempt has no
// acknowledgement.
func (b *budgets) spend(lost bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	saved := &b.slow
	if lost {
		saved = &b.lost
	}
	if *saved < 1 {
		return false
	}
	*saved--
	return true
}
