// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var sum = strings.Repeat("0", 64)

func TestReadLock(t *testing.T) {
	lock := write(t, "lock", "# comment\n\na 1 amd64 "+sum+" # comment\nb 2 arm64 "+sum+"\nc 3 all "+sum+"\n", 0o644)
	for arch, want := range map[string]string{"amd64": "[a 1 (amd64) c 3 (all)]", "arm64": "[b 2 (arm64) c 3 (all)]"} {
		pkgs, err := readLock(lock, arch)
		if got := fmt.Sprint(pkgs); got != want || err != nil {
			t.Errorf("%s: got %s, %v", arch, got, err)
		}
	}
	for content, want := range map[string]string{"\na 1 amd64\n": ":2: want NAME VERSION", "a 1 amd64 00": ":1: want", "": "no package for amd64"} {
		if _, err := readLock(write(t, "lock", content, 0o644), "amd64"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v", content, err)
		}
	}
}

func TestLockIsWhatIsWritten(t *testing.T) {
	var pkgs []pkg
	for _, arch := range []string{"arm64", "amd64"} {
		found, err := readLock("debian.lock", arch)
		if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, found...)
	}
	if got := readAll(t, "debian.lock"); string(got) != string(formatLock(pkgs)) {
		t.Errorf("debian.lock differs from:\n%s", formatLock(pkgs))
	}
}

// fakeApt puts an apt-get in front of PATH that runs script.
func fakeApt(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "apt-get"), "#!/bin/sh\ncase $* in *update) exit;; esac\n"+script, 0o755)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestPinnedVersionIsGone(t *testing.T) {
	fakeApt(t, "echo \"E: Version '1' for 'a' was not found\" >&2; exit 100")
	cache := t.TempDir()
	err := fetch([]pkg{{"a", "1", "amd64", sum}}, cache, "amd64")
	for _, want := range []string{"package a 1 (amd64) is pinned", "make image-lock", "was not found"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(cache, "*")); len(left) != 0 {
		t.Errorf("left %q", left)
	}
}

func TestNoNetwork(t *testing.T) {
	fakeApt(t, "echo 'W: Failed to fetch http://x' >&2; exit 100")
	err := fetch([]pkg{{"a", "1", "amd64", sum}}, t.TempDir(), "amd64")
	if err == nil || !strings.HasPrefix(err.Error(), "package a 1 (amd64) cannot be fetched: ") {
		t.Errorf("got %v", err)
	}
}

func TestPackageIsAnother(t *testing.T) {
	fakeApt(t, "echo another >a_1_amd64.deb")
	err := fetch([]pkg{{"a", "1", "amd64", sum}}, t.TempDir(), "amd64")
	if err == nil || !strings.Contains(err.Error(), "package a 1 (amd64): its sha256 is ") {
		t.Errorf("got %v", err)
	}
}

func TestNoApt(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := fetch([]pkg{{"a", "1", "amd64", sum}}, t.TempDir(), "amd64")
	if err == nil || !strings.Contains(err.Error(), "the Dockerfile does it") {
		t.Errorf("got %v", err)
	}
}

// What is in the cache needs no apt; what was damaged there does.
func TestCache(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	cache := t.TempDir()
	p := pkg{"a", "1", "amd64", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"} // of nothing
	write(t, cachedFile(cache, p), "", 0o644)
	if err := fetch([]pkg{p}, cache, "amd64"); err != nil {
		t.Error(err)
	}
	write(t, cachedFile(cache, p), "damaged", 0o644)
	if err := fetch([]pkg{p}, cache, "amd64"); err == nil {
		t.Error("a damaged file counts as cached")
	}
}
