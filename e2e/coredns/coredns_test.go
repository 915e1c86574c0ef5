// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMerge(t *testing.T) {
	for _, tt := range []struct{ ours, stock, want string }{
		{"own a c", "a b c d", "own a b c d"},
		{"own a c", "z a b x c", "own z a b x c"},
		{"a own c", "a b c", "a b own c"},
		{"own", "a b", "own a b"},
	} {
		if got := strings.Join(merge(strings.Fields(tt.ours), strings.Fields(tt.stock)), " "); got != tt.want {
			t.Errorf("%s with the rest of %s: %s, want %s", tt.ours, tt.stock, got, tt.want)
		}
	}
}

func TestReasonsAreFew(t *testing.T) {
	if len(reasons) > maxReasons {
		t.Errorf("%d reasons, more than %d", len(reasons), maxReasons)
	}
}

// TestFaults has each pair of outcomes without and with the plugins of this repository.
func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name         string
		stock, ours  status
		output, want string // want is a part of the error; empty: none
	}{
		{"TestA", passed, passed, "", ""},
		{"TestA", passed, failed, "", "TestA, ours: it fails"},
		{"TestA", passed, failed, "Unknown directive 'etcd'", ""},
		{"TestA", failed, failed, "", "TestA does not pass"},
		{"TestEtcdCache", failed, failed, "", ""},
		{"TestEtcdCache", passed, failed, "", "TestEtcdCache, ours: it fails"},
		{"TestEtcdCache", passed, passed, "", "TestEtcdCache passes"},
	} {
		r := &results{
			variants: []variant{{name: "stock"}, {name: "ours"}}, tests: []string{tt.name},
			outcomes: []map[string]outcome{{tt.name: {status: tt.stock}}, {tt.name: {status: tt.ours, output: tt.output}}},
		}
		got := ""
		if err := r.faults(); err != nil {
			got = err.Error()
		}
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}

func TestRead(t *testing.T) {
	const out = `{"Action":"run","Test":"TestA"}
{"Action":"pass","Test":"TestA/sub"}
{"Action":"pass","Test":"TestA"}
{"Action":"fail","Test":"TestB"}
{"Action":"output","Test":"TestC","Output":"    c_test.go:7: no memory\n"}
{"Action":"skip","Test":"TestC"}
{"Action":"fail"}
`
	got, err := read("cache", []byte(out))
	if err != nil || !slices.Equal(got.passed, []string{"TestA"}) || !slices.Equal(got.failed, []string{"TestB"}) || !slices.Equal(got.skipped, []string{"TestC"}) || got.why["TestC"] != "no memory" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := read("cache", []byte(`{"Action":"build-fail"}`)); err == nil {
		t.Error("a package that cannot be built is no error")
	}
}

// TestChange checks that a text of CoreDNS's tests that has moved is an error.
func TestChange(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a_test.go")
	if err := os.WriteFile(file, []byte("dns.Exchange(m, udp)\nc.Exchange(m, udp)\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := changes[2].in(dir); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(file)
	if err != nil || string(text) != "exchange(m, udp)\nc.Exchange(m, udp)\n" {
		t.Errorf("%q, %v", text, err)
	}
	if err := changes[2].in(dir); err == nil {
		t.Error("nothing to change is no error")
	}
}
