// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// promise is a row of a table of README.md, without the columns behind the file.
var promise = regexp.MustCompile("(?m)^\\| (?:`(Test\\w+)`|(\\w+))[^|]* \\| ([0-9, ]+) \\| (\\S+_test\\.go) \\|")

// TestReadmeTables compares the tables of README.md with the tests, with the stories of the cluster, and with its list of promises.
func TestReadmeTables(t *testing.T) {
	text := readFile(t, "README.md")
	listed := len(regexp.MustCompile(`(?m)^\d+\. \*\*`).FindAllString(text, -1))
	stories, tests, proved := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, row := range promise.FindAllStringSubmatch(text, -1) {
		file := row[4]
		if test := row[1]; test != "" {
			tests[file+" "+test] = true
		} else {
			stories[row[2]] = true
			if name := strings.ToLower(row[2][:1]) + row[2][1:]; !strings.Contains(strings.ToLower(readFile(t, file)), "\nfunc "+strings.ToLower(name)+"(") {
				t.Errorf("%s is not in %s", row[2], file)
			}
		}
		for _, number := range strings.Split(row[3], ", ") {
			proved[number] = true
		}
	}
	same(t, "tests", tests, testsOf(t, "*_test.go", "cluster/*_test.go", "vm/*_test.go"))
	same(t, "stories of the cluster", stories, matches(readFile(t, "cluster/stories_test.go"), `\{"(\w+)", \w+\}`))
	numbers := map[string]bool{}
	for i := range listed {
		numbers[strconv.Itoa(i+1)] = true
	}
	same(t, "promises", proved, numbers)
}

// testsOf finds the tests of files, as "FILE TEST", without this one.
func testsOf(t *testing.T, patterns ...string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			for name := range matches(readFile(t, file), `(?m)^func (Test\w+)\(t `) {
				all[file+" "+name] = true
			}
		}
	}
	delete(all, "readme_test.go "+t.Name())
	return all
}

// matches are the first groups of an expression's matches.
func matches(text, expression string) map[string]bool {
	found := map[string]bool{}
	for _, m := range regexp.MustCompile(expression).FindAllStringSubmatch(text, -1) {
		found[m[1]] = true
	}
	return found
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// same complains of what is in one set only.
func same(t *testing.T, what string, table, code map[string]bool) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(table)) {
		if !code[name] {
			t.Errorf("%s: README.md has %s, which does not exist", what, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(code)) {
		if !table[name] {
			t.Errorf("%s: %s is not in README.md", what, name)
		}
	}
	if len(table) == 0 {
		t.Errorf("%s: none in README.md", what)
	}
}
