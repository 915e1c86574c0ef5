// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/kernel"
)

// programs counts the BPF programs that this process has open.
func programs(t *testing.T) (n int) {
	t.Helper()
	files, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if to, _ := os.Readlink(f); strings.Contains(to, "bpf-prog") {
			n++
		}
	}
	return n
}

func loadedProgram() *kernel.Program {
	program.mu.Lock()
	defer program.mu.Unlock()
	return program.p
}

// TestProgramOfAConfiguration has one program while configurations with `kernel` serve, the same after reloads and after reloads that
// are refused, and none without the option.
func TestProgramOfAConfiguration(t *testing.T) {
	nettest.InNamespace(t) // for root; the server is in the namespace of other threads, and the program is attached to no interface
	setDirectives()
	const text = ".:PORT {\n bind 127.0.0.1\n packetcache {\n kernel\n }\n template IN A {\n answer \"{{ .Name }} %d IN A 192.0.2.9\"\n }\n}\n"
	without := programs(t)
	await := func(what string, want int) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); programs(t)-without != want; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: %d programs, want %d", what, programs(t)-without, want)
			}
		}
	}
	_, reload := reloadable(t, fmt.Sprintf(text, 50))
	await("start", 1)
	first := loadedProgram()
	for i := range 3 {
		// The second server block's address belongs to nobody, so that the configuration is refused when its servers start.
		refused := fmt.Sprintf(text, 51) + "refused.test:PORT {\n bind 192.0.2.77\n packetcache\n template IN A {\n rcode NXDOMAIN\n }\n}\n"
		if err := reload(refused); err == nil {
			t.Fatal("the configuration was not refused")
		}
		await("refused", 1)
		if err := reload(fmt.Sprintf(text, 60+i)); err != nil {
			t.Fatal(err)
		}
		await("reload", 1)
	}
	if now := loadedProgram(); now != first {
		t.Errorf("program %p, not %p, after the reloads", now, first)
	}
	if err := reload(strings.Replace(fmt.Sprintf(text, 50), "packetcache {\n kernel\n }", "packetcache", 1)); err != nil {
		t.Fatal(err)
	}
	await("without kernel", 0)
}
