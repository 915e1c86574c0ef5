// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReplaceFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "Corefile")
	for _, text := range []string{"one", "two", ""} {
		if err := replaceFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := readString(t, path); got != text {
			t.Errorf("got %q, want %q", got, text)
		}
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("a file with the same text was replaced (%v)", err)
	}
	if mode := before.Mode(); mode != 0o600 {
		t.Errorf("mode %s", mode)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestReplaceFileKeepsOthers(t *testing.T) {
	dir := t.TempDir()
	target := writeFile(t, dir, "target", "mine")
	link := filepath.Join(dir, "link")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, dir, "/dev/null", filepath.Join(dir, "absent", "Corefile")} {
		if err := replaceFile(path, []byte("other"), 0o600); err == nil {
			t.Errorf("%s: no error", path)
		}
	}
	if got := readString(t, target); got != "mine" {
		t.Errorf("the target of the link became %q", got)
	}
}
