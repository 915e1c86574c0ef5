// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const report = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="6"><testsuite name="x">
<testcase name="[SynchronizedBeforeSuite]" status="passed" time="1"></testcase>
<testcase name="[It] [sig-network] DNS a" status="passed" time="1"></testcase>
<testcase name="[It] [sig-network] DNS b" status="failed" time="1"><failure type="failed">timed out
</failure></testcase>
<testcase name="[It] [sig-network] DNS c" status="skipped" time="0"><skipped message="skipped"></skipped></testcase>
<testcase name="[It] [sig-network] DNS d" status="skipped" time="0"><skipped message="skipped - needs two zones"></skipped></testcase>
<testcase name="[It] [sig-network] DNS e" status="panicked" time="0"><error type="panicked">nil map</error></testcase>
<testcase name="[It] [sig-network] DNS f" status="pending" time="0"></testcase>
<testcase name="[AfterSuite]" status="failed" time="1"><failure type="failed">x</failure></testcase>
</testsuite></testsuites>`

func write(t *testing.T, dir, text string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "junit_01.xml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestReadResults(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, report)
	got, err := ReadResults(filepath.Join(dir, "junit_01.xml"))
	if err != nil {
		t.Fatal(err)
	}
	want := Results{
		"[sig-network] DNS a": {Outcome: Passed},
		"[sig-network] DNS b": {Failed, "timed out"},
		"[sig-network] DNS d": {Skipped, "needs two zones"},
		"[sig-network] DNS e": {Failed, "nil map"},
		"[sig-network] DNS f": {Failed, "status pending"},
		"[AfterSuite]":        {Failed, "outside of a test"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestWorse(t *testing.T) {
	before := Results{"a": {Outcome: Passed}, "b": {Outcome: Passed}, "c": {Outcome: Passed}, "d": {Failed, "x"}, "e": {Outcome: Passed}}
	after := Results{"a": {Outcome: Passed}, "b": {Failed, "y"}, "d": {Failed, "x"}, "e": {Skipped, "z"}}
	got := Worse(before, after)
	if want := []string{"b: failed: y", "c: not run", "e: skipped: z"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTable(t *testing.T) {
	dir := t.TempDir()
	failed := strings.Replace(report, `DNS b" status="failed"`, `DNS b" status="passed"`, 1)
	failed = strings.Replace(failed, "<failure type=\"failed\">timed out\n</failure>", "", 1)
	for _, run := range runs {
		write(t, filepath.Join(dir, "iptables", run), report)
		write(t, filepath.Join(dir, "nftables", run), failed)
	}
	special := strings.ReplaceAll(report, "DNS a", "DNS z")
	write(t, filepath.Join(dir, "iptables", Forwarded), special)
	write(t, filepath.Join(dir, "nftables", Forwarded), special)
	if err := os.RemoveAll(filepath.Join(dir, "nftables", Updated)); err != nil {
		t.Fatal(err)
	}
	all, err := ReadAll(dir)
	if err != nil {
		t.Fatal(err)
	}
	table := all.Table()
	for _, want := range []string{
		"Modes: iptables, nftables.\n",
		"| DNS a | passed | passed | passed | not run: nftables; passed: iptables |\n",
		"| DNS b | failed: iptables; passed: nftables |",
		"| DNS z | not run | passed, all names forwarded | not run | not run |\n",
		"| DNS d | skipped (needs two zones) |",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in\n%s", want, table)
		}
	}
}
