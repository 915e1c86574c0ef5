// SPDX-License-Identifier: Apache-2.0

package memlimit

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
)

func TestShare(t *testing.T) {
	for _, tt := range []struct {
		limit string
		want  int // of 16,000
	}{
		{"", 16000}, {"192Mi", 16000}, {"16Mi", 1000}, {"64Mi", 1000}, {"72Mi", 1000}, {"96Mi", 4000},
		{"128Mi", 8000}, {"170Mi", 13250}, {"1Gi", 120000}, {"64Gi", 160000},
	} {
		var l Limit
		if tt.limit != "" {
			var err error
			if l, err = Parse(tt.limit); err != nil {
				t.Fatal(err)
			}
		}
		if got := l.Share(16000); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.limit, got, tt.want)
		}
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]Limit{
		"67108864": 64 << 20, "65536Ki": 64 << 20, "64Mi": 64 << 20, "1Gi": 1 << 30, "200000k": 2e8, "200M": 2e8, "1G": 1e9,
		"1024Gi": 1 << 40, "16Mi": 16 << 20,
	} {
		if got, err := Parse(text); got != want || err != nil {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "Mi", "-64Mi", "1.5Gi", "64 Mi", "64MB", "64mi", "15Mi", "1025Gi", "9223372036854775807Gi", "1e9"} {
		got, err := Parse(text)
		if err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
}

// TestContainer reads cgroup trees of containers and services.
func TestContainer(t *testing.T) {
	for _, tt := range []struct {
		name, self string
		files      map[string]string
		want       Limit
	}{
		{"v2, a container", "0::/\n", map[string]string{"memory.max": "178257920\n"}, 170 << 20},
		{"v2, a container with the host's cgroup namespace", "0::/kubepods/pod1/c1\n", map[string]string{"memory.max": "178257920\n"}, 170 << 20},
		{"v2, a service", "0::/system.slice/x.service\n", map[string]string{"system.slice/x.service/memory.max": "67108864\n", "system.slice/memory.max": "1\n"}, 64 << 20},
		{"v2, no limit", "0::/\n", map[string]string{"memory.max": "max\n"}, 0},
		{"v2, no limit but above", "0::/kubepods/pod1\n", map[string]string{"kubepods/pod1/memory.max": "max\n", "kubepods/memory.max": "67108864\n"}, 0},
		{"v1, a container", "9:name=systemd:/\n4:cpu,memory:/kubepods/pod1\n", map[string]string{"memory/memory.limit_in_bytes": "178257920\n"}, 170 << 20},
		{"v1, a service", "4:memory:/x\n0::/\n", map[string]string{"memory/x/memory.limit_in_bytes": "67108864\n"}, 64 << 20},
		{"v1, no limit", "4:memory:/x\n", map[string]string{"memory/x/memory.limit_in_bytes": "9223372036854771712\n"}, 0},
		{"no cgroup", "", nil, 0},
		{"damaged", "x\n0::/\n", map[string]string{"memory.max": "much\n"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			self := filepath.Join(dir, "self")
			write(t, self, tt.self)
			for name, text := range tt.files {
				write(t, filepath.Join(dir, "root", name), text)
			}
			if got := container(self, filepath.Join(dir, "root")); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
	if got := container("/absent", "/absent"); got != 0 {
		t.Errorf("got %d", got)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestSet(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	t.Setenv("GOMEMLIMIT", "")
	if got := Set(200 * mib); got != 200*mib || debug.SetMemoryLimit(-1) != 180*mib || Process().String() != "200Mi" {
		t.Errorf("%s, %d, %s", got, debug.SetMemoryLimit(-1), Process())
	}
	t.Setenv("GOMEMLIMIT", "90MiB") // Go has read it at the start
	debug.SetMemoryLimit(90 * mib)
	if got := Set(200 * mib); got.String() != "100Mi" || debug.SetMemoryLimit(-1) != 90*mib {
		t.Errorf("%s, %d", got, debug.SetMemoryLimit(-1))
	}
}
