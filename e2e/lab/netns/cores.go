// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Cores returns the first and the last core that this process may use. The machine's own interrupts mostly go to the first. The
// test fails if there is only one.
func Cores(t testing.TB) (first, last int) {
	t.Helper()
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatalf("asking for the cores: %v", err)
	}
	if set.Count() < 2 {
		t.Fatalf("server and client need a core each, and this process may use one core only")
	}
	var cores []int
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			cores = append(cores, i)
		}
	}
	return cores[0], cores[len(cores)-1]
}

// Pin lets the programs that are started in the namespace from now on run on one core only.
func (n *Namespace) Pin(t testing.TB, core int) {
	t.Helper()
	var set unix.CPUSet
	set.Set(core)
	if err := n.Run(func() error { return unix.SchedSetaffinity(0, &set) }); err != nil {
		t.Fatalf("pinning %s to core %d: %v", n.Name, core, err)
	}
}
