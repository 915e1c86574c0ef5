// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// compiler is the version of clang that made the object, Debian 12's. Another version makes other code.
const compiler = "Debian clang version 14.0.6"

// TestGenerated makes the object anew, and compares it with the one that is committed.
func TestGenerated(t *testing.T) {
	out, err := exec.Command("clang", "--version").Output()
	if version, _, _ := strings.Cut(string(out), "\n"); err != nil || version != compiler {
		if os.Getenv("NODELOCALDNS_E2E") == "required" {
			t.Fatalf("want clang, %s: %q, %v", compiler, version, err)
		}
		t.Skipf("needs clang, %s: %q, %v", compiler, version, err)
	}
	dir := t.TempDir()
	source, err := os.ReadFile("kernel.go")
	if err != nil {
		t.Fatal(err)
	}
	_, line, ok := strings.Cut(string(source), "//go:generate ")
	line, _, _ = strings.Cut(line, "\n")
	if !ok {
		t.Fatal("kernel.go has no go:generate line")
	}
	cmd := exec.Command("bash", "-c", strings.Replace(line, " answer answer.bpf.c ", " -output-dir "+dir+" answer answer.bpf.c ", 1))
	cmd.Env = append(os.Environ(), "GOPACKAGE=kernel")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"answer_bpfel.go", "answer_bpfel.o"} {
		made, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if committed, err := os.ReadFile(name); err != nil || !bytes.Equal(made, committed) {
			t.Errorf("%s is not what go generate makes, %v", name, err)
		}
	}
}
