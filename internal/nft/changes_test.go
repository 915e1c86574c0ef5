// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

// TestChanges: other processes are named, each once, and this one is not.
func TestChanges(t *testing.T) {
	nettest.InNamespace(t)
	c, err := NewChanges()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	nft := func(commands string) string {
		t.Helper()
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(commands)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return fmt.Sprintf("nft (pid %d)", cmd.Process.Pid)
	}
	if got := c.By(); got != "" {
		t.Errorf("nothing was changed, and somebody did: %q", got)
	}
	var w Watch
	write(t, &w, 2) // this process
	first := nft("add table ip one\nadd chain ip one two")
	if got := c.By(); got != first {
		t.Errorf("got %q, want %q", got, first)
	}
	nft("add table ip two")
	seen := c.Seen()
	second := nft("delete table ip one")
	c.Forget(seen)
	if got := c.By(); got != second {
		t.Errorf("got %q, want %q", got, second)
	}
	nft("add table ip three")
	for range maxSeen {
		write(t, &w, 1)
	}
	if got := c.By(); got != "" {
		t.Errorf("more are remembered than %d: %q", maxSeen, got)
	}
	if n := (*Changes)(nil).Seen(); n != 0 || (*Changes)(nil).By() != "" {
		t.Error("nil knows something")
	}
}
