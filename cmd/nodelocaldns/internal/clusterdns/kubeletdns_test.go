// SPDX-License-Identifier: Apache-2.0

package clusterdns

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// writeFile writes a file into dir and returns its path.
func writeFile(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func readString(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("no %q in:\n%s", p, text)
		}
	}
}

const kubeletHead = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"

// readyServer answers as the ready plugin does.
func readyServer(t *testing.T, ready *atomic.Bool) (addr netip.Addr, port string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ready" || !ready.Load() {
			http.Error(w, "nodelocal", http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return netip.MustParseAddr(u.Hostname()), u.Port()
}

func TestKubeletDNS(t *testing.T) {
	before := kubeletHead + "clusterDNS:\n- 10.96.0.10\n"
	path := writeFile(t, t.TempDir(), "config.yaml", before)
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	var ready atomic.Bool
	addr, port := readyServer(t, &ready)
	k := kubeletDNS{config: path, addrs: []netip.Addr{addr}, patience: time.Millisecond, readyPort: port}

	err := k.run(new(bytes.Buffer))
	if err == nil || readString(t, path) != before {
		t.Fatalf("changed without a cache: %v", err)
	}
	contains(t, err.Error(), "leaving "+path+" as it is: no cache is ready on this node: http://127.0.0.1:", "/ready: 503 Service Unavailable: nodelocal")

	ready.Store(true)
	var out bytes.Buffer
	for range 2 {
		if err := k.run(&out); err != nil {
			t.Fatal(err)
		}
	}
	contains(t, readString(t, path), "\nclusterDNS:\n- \"127.0.0.1\"\n")
	contains(t, out.String(), "changed clusterDNS in "+path+"; restart the kubelet, and new pods have it\nnothing to change in "+path+"\n")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}

	ready.Store(false) // to go back needs no cache
	k.undo = true
	if err := k.run(&out); err != nil || readString(t, path) != before {
		t.Errorf("%v; put back:\n%s", err, readString(t, path))
	}
}

func TestKubeletDNSRefusesALink(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "real.yaml", kubeletHead)
	if err := os.Symlink("real.yaml", dir+"/config.yaml"); err != nil {
		t.Fatal(err)
	}
	var ready atomic.Bool
	ready.Store(true)
	addr, port := readyServer(t, &ready)
	k := kubeletDNS{config: dir + "/config.yaml", addrs: []netip.Addr{addr}, patience: time.Millisecond, readyPort: port}
	err := k.run(new(bytes.Buffer))
	if err == nil || !strings.HasSuffix(err.Error(), "is not a regular file: name the file that it stands for") {
		t.Error("got", err)
	}
}
