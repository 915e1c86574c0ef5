// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const monitoring = "components/monitoring/"

// text returns a file of this directory.
func text(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestAlerts has promtool check the rules, and run testdata/alerts.yaml on them.
func TestAlerts(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("NODELOCALDNS_E2E") == "required" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	_, spec, _ := strings.Cut(text(t, monitoring+"prometheusrule.yaml"), "\nspec:\n")
	dir := t.TempDir()
	for name, content := range map[string]string{"rules.yaml": strings.ReplaceAll("\n"+spec, "\n  ", "\n"), "test.yaml": text(t, "testdata/alerts.yaml")} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"check", "rules", "rules.yaml"}, {"test", "rules", "test.yaml"}} {
		c := exec.CommandContext(t.Context(), promtool, args...)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

func all(text, pattern string) (found []string) {
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// TestAlertsAreComplete: each alert has a severity, a text and a test in which it fires, and a row in the runbook.
func TestAlertsAreComplete(t *testing.T) {
	rules, tests, runbook := text(t, monitoring+"prometheusrule.yaml"), text(t, "testdata/alerts.yaml"), text(t, "../docs/operations.md")
	names := all(rules, `- alert: (\w+)`)
	if len(names) < 20 {
		t.Fatalf("alerts: %q", names)
	}
	for _, field := range []string{"severity", "summary", "description", "runbook_url"} {
		if n := strings.Count(rules, "  "+field+": "); n != len(names) {
			t.Errorf("%d alerts have a %s, of %d", n, field, len(names))
		}
	}
	if fires := all(tests, `alertname="(\w+)"`); !slices.Equal(fires, names) {
		t.Errorf("alerts that a test has fire:\n%q\nwant\n%q", fires, names)
	}
	known := documentedMetrics(t)
	for _, metric := range all(rules, `\b(coredns_\w+)[{)\[]`) {
		if !slices.Contains(known, strings.TrimSuffix(metric, "_bucket")) {
			t.Errorf("no manual has %s", metric)
		}
	}
	for _, n := range names {
		if short := strings.TrimPrefix(n, "NodeLocalDNS"); !strings.Contains(runbook, "\n| "+short+" |") {
			t.Errorf("docs/operations.md has no row for %s", short)
		}
	}
}
