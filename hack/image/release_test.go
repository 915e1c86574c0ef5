// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestReleaseRefuses runs hack/release.sh in a repository that has nothing else. It refuses what is not the clean commit of a tag,
// with one line, before it builds or removes anything. hack/release-test.sh makes a whole release.
func TestReleaseRefuses(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "hack", "release.sh")
	mustExec(t, dir, "git", "init", "-q", ".")
	mustExec(t, dir, "mkdir", "hack")
	mustExec(t, dir, "cp", absolute(t, "../release.sh"), script)
	refuses := func(want string) {
		t.Helper()
		c := exec.CommandContext(t.Context(), script)
		out, err := c.CombinedOutput()
		said := strings.TrimSuffix(string(out), "\n")
		if err == nil || c.ProcessState.ExitCode() != 1 || !strings.HasPrefix(said, "make release: "+want) || strings.Contains(said, "\n") {
			t.Errorf("want exit code 1 and one line %q, got %v:\n%s", want, err, out)
		}
	}
	refuses("this is no clone of the repository")
	mustExec(t, dir, "git", "add", ".")
	commit := func(words ...string) {
		mustExec(t, dir, "git", append([]string{"-c", "user.name=test", "-c", "user.email=test@example.invalid"}, words...)...)
	}
	commit("commit", "-q", "-m", "first")
	refuses("commit ")
	commit("tag", "release-1")
	refuses("commit ")
	commit("tag", "v1")
	refuses("tag v1 is not vX.Y.Z")
	commit("tag", "-d", "v1")
	commit("tag", "-a", "-m", "test", "v1.2.3")
	write(t, filepath.Join(dir, "new"), "not in the commit", 0o644)
	refuses("the work tree has changes, so it is not what the tag says; commit or remove them: ?? new")
	mustExec(t, dir, "git", "add", ".")
	commit("commit", "-q", "-m", "one commit behind the tag")
	refuses("commit ")
}

func mustExec(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
