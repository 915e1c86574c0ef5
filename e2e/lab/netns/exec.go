// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"bytes"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// Exec runs a program in the namespace to its end and returns what it printed. The test fails if the program does.
func (n *Namespace) Exec(t testing.TB, stdin, name string, args ...string) string {
	t.Helper()
	out, err := n.Output(stdin, name, args...)
	if err != nil {
		t.Fatalf("running %s %s in %s: %v\n%s", name, strings.Join(args, " "), n.Name, err, out)
	}
	return out
}

// Output is Exec for a program that may fail.
func (n *Namespace) Output(stdin, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := n.Run(cmd.Start); err != nil {
		return "", err
	}
	err := cmd.Wait()
	return out.String(), err
}
