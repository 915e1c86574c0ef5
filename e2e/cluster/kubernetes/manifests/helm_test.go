// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
)

const (
	release    = "node-local-dns"
	repository = "../../../../"
	// theirs is a chart of the name, keys and default values of deliveryhero/node-local-dns 2.9.2.
	theirs = "../../testdata/node-local-dns"
)

// helmProgram builds the helm of the release, once for all tests.
var helmProgram = sync.OnceValues(func() (string, error) {
	script, err := os.ReadFile(repository + "hack/release.sh")
	if err != nil {
		return "", err
	}
	module := regexp.MustCompile(`(?m)^HELM=(\S+)$`).FindSubmatch(script)
	if module == nil {
		return "", fmt.Errorf("hack/release.sh names no HELM")
	}
	dir, err := os.MkdirTemp("", "helm")
	if err != nil {
		return "", err
	}
	install := exec.Command("go", "install", "-ldflags=-s -w", string(module[1]))
	install.Env = append(os.Environ(), "GOBIN="+dir)
	install.Dir = dir // outside of any module
	if out, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building helm: %w\n%s", err, out)
	}
	return filepath.Join(dir, "helm"), nil
})

// TestMain removes helm.
func TestMain(m *testing.M) {
	code := m.Run()
	if program, err := helmProgram(); err == nil {
		if err := os.RemoveAll(filepath.Dir(program)); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	os.Exit(code)
}

// tryHelm runs helm and returns what it printed.
func tryHelm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	program, err := helmProgram()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), program, args...)
	var stdout, stderr strings.Builder
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("helm %s: %w\n%s%s", strings.Join(args, " "), err, stderr.String(), stdout.String())
	}
	return stdout.String(), nil
}

func helm(t *testing.T, args ...string) string {
	t.Helper()
	out, err := tryHelm(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func chart(t *testing.T) string { return absolute(t, repository+"charts/nodelocaldns") }

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// text is what helm template prints of a chart.
func text(t *testing.T, chart string, flags ...string) string {
	t.Helper()
	return helm(t, append([]string{"template", release, chart, "-n", "kube-system", "--kube-version", "1.37.0"}, flags...)...)
}

// template decodes what the project's chart renders.
func template(t *testing.T, flags ...string) []runtime.Object {
	t.Helper()
	return decode(t, text(t, chart(t), flags...))
}

// values writes a values file.
func values(t *testing.T, yaml string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}
