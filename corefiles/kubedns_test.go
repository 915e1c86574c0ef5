// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/corefiles/kubedns"
)

// TestKubeDNSErrorNamesTheKey goes through all faults of one key: without that key the other one is read.
func TestKubeDNSErrorNamesTheKey(t *testing.T) {
	good := map[string]string{"stubDomains": `{"a.example": ["192.0.2.1"]}`, "upstreamNameservers": `["192.0.2.2"]`}
	for key, faults := range map[string][]string{
		"stubDomains":         {"{", `["x"]`, `{"a b": ["::1"]}`, `{"a": ["ns.example"]}`, `{"a": []}`, `{"a": ["169.254.20.10"]}`, `{".": ["192.0.2.1"]}`},
		"upstreamNameservers": {"8.8.8.8", "{}", `["::1","::2","::3","::4"]`, `["ns.example"]`, `["10.96.0.10"]`},
	} {
		for _, text := range faults {
			files := map[string]string{"stubDomains": good["stubDomains"], "upstreamNameservers": good["upstreamNameservers"]}
			files[key] = text
			dir := t.TempDir()
			for name, text := range files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := renderDir(dir)
			var bad kubedns.Error
			if !errors.As(err, &bad) || bad.Key != key {
				t.Errorf("%s %s: got %v, of key %q", key, text, err, bad.Key)
			}
			k, err := renderDir(dir, key)
			if err != nil || len(k.StubDomains)+len(k.UpstreamNameservers) != 1 {
				t.Errorf("%s %s: without it %+v, %v", key, text, k, err)
			}
		}
	}
	var bad kubedns.Error
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "stubDomains"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := kubedns.Read(dir); !errors.As(err, &bad) || bad.Key != "" {
		t.Errorf("a directory in the place of a file: %v, of key %q", err, bad.Key)
	}
}

// renderDir reads a ConfigMap and renders a template with it.
func renderDir(dir string, skip ...string) (kubedns.Config, error) {
	k, err := kubedns.Read(dir, skip...)
	if err == nil {
		_, err = Render(Template{"f", []byte(".:53 {\n    nodelocal\n}\n")}, params(func(p *Params) { p.KubeDNS = k }))
	}
	return k, err
}
