// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// Tools is a directory for the PATH of the program under test. It has the iptables commands in the variant of the backend. For
// nftables it is empty.
type Tools struct {
	Dir string
	log string
}

var iptablesCommands = []string{
	"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore",
}

// NewTools makes the directory. Each command is a script that logs its call and then runs the real command.
func NewTools(t testing.TB, backend Backend) *Tools {
	t.Helper()
	tools := &Tools{Dir: harness.Dir(t)}
	tools.log = filepath.Join(tools.Dir, "calls")
	variant, ok := strings.CutPrefix(string(backend), "iptables-")
	if !ok {
		return tools
	}
	multi := harness.Which(t, "xtables-"+variant+"-multi")
	for _, name := range iptablesCommands {
		script := fmt.Sprintf("#!/bin/sh\necho %s \"$@\" >>%s\nexec %s %s \"$@\"\n", name, tools.log, multi, name)
		if err := os.WriteFile(filepath.Join(tools.Dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return tools
}

// Calls lists the iptables commands that were run, with their arguments.
func (t *Tools) Calls(tb testing.TB) []string {
	tb.Helper()
	b, err := os.ReadFile(t.log)
	if err != nil && !os.IsNotExist(err) {
		tb.Fatal(err)
	}
	return strings.FieldsFunc(string(b), func(r rune) bool { return r == '\n' })
}
