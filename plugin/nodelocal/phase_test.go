// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"testing"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
)

func (p phase) String() string {
	return [...]string{"idle", "serving", "reloading", "replacing", "leaving"}[p]
}

func (s step) String() string {
	return [...]string{"begins", "restarts", "restored", "ended", "leaves", "closed"}[s]
}

// TestPhases walks all pairs of a phase and a step.
func TestPhases(t *testing.T) {
	want := map[phase]map[step]phase{
		idle:      {begins: serving, restarts: reloading, restored: idle, ended: idle, leaves: leaving, closed: idle},
		serving:   {begins: serving, restarts: reloading, restored: serving, ended: serving, leaves: leaving, closed: idle},
		reloading: {begins: replacing, restarts: reloading, restored: serving, ended: idle, leaves: leaving, closed: idle},
		replacing: {begins: replacing, restarts: reloading, restored: serving, ended: serving, leaves: leaving, closed: idle},
		leaving:   {begins: leaving, restarts: leaving, restored: leaving, ended: leaving, leaves: leaving, closed: idle},
	}
	for p := idle; p <= leaving; p++ {
		for s := begins; s <= closed; s++ {
			if got := p.after(s); got != want[p][s] {
				t.Errorf("%s, %s: got %s, want %s", p, s, got, want[p][s])
			}
		}
		if got := p.servers(); (got == hostnet.BothServers) != (p == replacing) || got == hostnet.ServersStarting {
			t.Errorf("%s: %d", p, got)
		}
	}
}
