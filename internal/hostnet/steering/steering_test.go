// SPDX-License-Identifier: Apache-2.0

package steering

import (
	"testing"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

func wanted(steered string) Wanted {
	return Wanted{Addresses: nettest.Addrs("169.254.20.10 10.96.0.10 fd00::10"), Steered: nettest.Addrs(steered), Port: 53, HealthPort: 8080}
}

// The guard is what makes a dead cache harmless, and its absence on the source
// what keeps answers in flight from confusing connection tracking.
func TestGuards(t *testing.T) {
	for _, r := range wanted("169.254.20.10 10.96.0.10 fd00::10").Rules(family.IPv4) {
		if r.Hook.Table != "raw" {
			continue
		}
		if r.Source == r.Local && r.Mark == 0 {
			t.Errorf("source %v, guarded %v: %s", r.Source, r.Local, r.IPTables())
		}
	}
}

func TestSteeringOffLeavesOnlyTheSelfQueryAndTheHealthPort(t *testing.T) {
	for _, r := range wanted("").Rules(family.IPv4) {
		if r.Hook.Table == "raw" && !r.Source && r.Port == 53 && r.Mark != SelfQueryMark {
			t.Errorf("a rule steers: %s", r.IPTables())
		}
	}
}
