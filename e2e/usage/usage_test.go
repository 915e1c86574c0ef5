// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const line = "7 (a ) b) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 30 20 20 0 1 0 100 0 0"
	own, children, err := parseStat(line)
	if own != 3*time.Second || children != 500*time.Millisecond || err != nil {
		t.Errorf("%s, %s, %v", own, children, err)
	}
	for _, bad := range []string{"", "7 (a) S 1", "7 (a) S 1 7 7 0 -1 4194560 1 2 3 4 x 50 30 20 20"} {
		if _, _, err := parseStat(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

// TestCPU counts the work of this process, of a thread that ends, and of children: while they run and when they have ended.
func TestCPU(t *testing.T) {
	const work, least = 60 * time.Millisecond, 60*time.Millisecond - 2*ClockTick
	at := func() time.Duration {
		t.Helper()
		used, err := CPU(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		return used
	}
	grows := func(what string, f func()) {
		t.Helper()
		before := at()
		f()
		if got := at() - before; got < least {
			t.Errorf("%s: %s, want %s at least", what, got, least)
		}
	}
	grows("this process", func() { spin(work) })
	grows("a thread that ends", func() {
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // without UnlockOSThread the thread ends with the goroutine
			spin(work)
		}()
		<-done
	})
	child := exec.Command("sh", "-c", "while :; do :; done")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for begin := at(); at() < begin+work; {
		if time.Now().After(deadline) {
			t.Fatal("a running child is not counted")
		}
	}
	before := at()
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // it was killed
	if after := at(); after < before-2*ClockTick {
		t.Errorf("a child that has ended: %s, and %s before", after, before)
	}
	if _, err := CPU(child.Process.Pid); err == nil {
		t.Error("no error for a process that has ended")
	}
}

// spin takes so much CPU time of this process.
func spin(d time.Duration) {
	begin := threads(os.Getpid())
	for threads(os.Getpid()) < begin+d {
	}
}

func TestSum(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if got := Sum([]string{file("a", "1500 3 2\n"), filepath.Join(dir, "gone"), file("b", "500 0 0\n")}); got != 2*time.Microsecond {
		t.Errorf("%s", got)
	}
}

func TestNamed(t *testing.T) {
	self := fmt.Sprintf("/proc/%d/schedstat", os.Getpid())
	name, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	prefix := strings.TrimSpace(string(name))
	if got := Named(prefix[:len(prefix)-1]); !slices.Contains(got, self) {
		t.Errorf("%q does not have %s", got, self)
	}
	if got := Named(prefix + "/"); slices.Contains(got, self) {
		t.Errorf("%q has %s", got, self)
	}
}

func TestParsePressure(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0,
		"some avg10=97.03 avg60=94.87 avg300=79.38 total=1500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n": 1500 * time.Millisecond,
	} {
		if got := parsePressure(text); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}
