// SPDX-License-Identifier: Apache-2.0

package kubedns

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// mount writes files into a directory as the kubelet does: in a directory of their version, with symlinks to it.
func mount(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	version := "..2026_01_01_00_00_00.1"
	must(t, os.Mkdir(filepath.Join(dir, version), 0o755))
	must(t, os.Symlink(version, filepath.Join(dir, "..data")))
	for name, text := range files {
		must(t, os.WriteFile(filepath.Join(dir, version, name), []byte(text), 0o644))
		must(t, os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)))
	}
	return dir
}

// publish makes version the current version, and removes the version before.
func publish(dir, version string, files map[string]string) error {
	data := filepath.Join(dir, "..data")
	before, err := os.Readlink(data)
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, version), 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, version, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := os.Symlink(version, data+"_tmp"); err != nil {
		return err
	}
	if err := os.Rename(data+"_tmp", data); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(dir, before))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestReadKubeDNS(t *testing.T) {
	const stubs, upstreams = `{"a.example": ["192.0.2.1"]}`, `["192.0.2.2"]`
	plain := t.TempDir()
	must(t, os.WriteFile(filepath.Join(plain, "upstreamNameservers"), []byte(upstreams), 0o644))
	for dir, want := range map[string]Config{
		filepath.Join(plain, "none"): {},
		t.TempDir():                  {},
		plain:                        {nil, []string{"192.0.2.2"}},
		mount(t, nil):                {},
		mount(t, map[string]string{"stubDomains": stubs, "federations": "{"}): {
			map[string][]string{"a.example": {"192.0.2.1"}}, nil},
		mount(t, map[string]string{"stubDomains": stubs, "upstreamNameservers": upstreams}): {
			map[string][]string{"a.example": {"192.0.2.1"}}, []string{"192.0.2.2"}},
	} {
		if got, err := Read(dir); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, %v; want %v", dir, got, err, want)
		}
	}
}

func TestReadKubeDNSErrors(t *testing.T) {
	syntax := mount(t, map[string]string{"upstreamNameservers": "[\n"})
	entry := mount(t, map[string]string{"stubDomains": `{"a b": ["::1"]}`})
	large := mount(t, map[string]string{"stubDomains": strings.Repeat(" ", MaxSize+10)})
	file := t.TempDir()
	must(t, os.Mkdir(filepath.Join(file, "stubDomains"), 0o755))
	list := t.TempDir()
	must(t, os.Mkdir(filepath.Join(list, "upstreamNameservers"), 0o755))
	for dir, want := range map[string]string{
		syntax: "parsing " + syntax + "/upstreamNameservers:1:2: unexpected end of JSON input",
		entry: "parsing " + entry + `/stubDomains: "a b": not a domain name: character ' ' in label "a b"; ` +
			"letters, digits, hyphens and underscores are allowed",
		large: "parsing " + large + "/stubDomains: 1048577 bytes are more than 1048576",
		file:  "reading kube-dns ConfigMap: read " + file + "/stubDomains: is a directory",
		list:  "reading kube-dns ConfigMap: read " + list + "/upstreamNameservers: is a directory",
	} {
		if _, err := Read(dir); errText(err) != want {
			t.Errorf("got error  %v\nwant error %s", err, want)
		}
	}
}

// TestReadKubeDNSUpdate reads while new versions come in: both keys have to be of the same one.
func TestReadKubeDNSUpdate(t *testing.T) {
	files := func(i int) map[string]string {
		return map[string]string{
			"stubDomains":         fmt.Sprintf(`{"a%d.example": ["192.0.2.1"]}`, i),
			"upstreamNameservers": fmt.Sprintf(`["192.0.2.%d"]`, i),
		}
	}
	dir := mount(t, files(1))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 2; i <= 200; i++ {
			if err := publish(dir, fmt.Sprintf("..%d", i), files(i)); err != nil {
				t.Errorf("publishing version %d: %v", i, err)
				return
			}
		}
	}()
	for updating := true; updating; {
		select {
		case <-done:
			updating = false // the last turn is after the last update
		default:
		}
		k, err := Read(dir)
		if err != nil {
			if !updating || !strings.HasSuffix(err.Error(), "..data changes too often") {
				t.Error(err)
			}
			continue
		}
		if len(k.UpstreamNameservers) != 1 || len(k.StubDomains) != 1 {
			t.Errorf("got %v", k)
			continue
		}
		domain := strings.Replace(k.UpstreamNameservers[0], "192.0.2.", "a", 1) + ".example"
		if _, ok := k.StubDomains[domain]; !ok {
			t.Errorf("keys of two versions: %v", k)
		}
	}
}
