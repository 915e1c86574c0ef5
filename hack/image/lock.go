// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
)

// A pkg is one line of the lock file.
type pkg struct{ name, version, arch, sha256 string }

func (p pkg) String() string { return fmt.Sprintf("%s %s (%s)", p.name, p.version, p.arch) }

const lockHeader = `# The Debian packages that the image takes files from: name, version, architecture, sha256.
# Written by ` + "`make image-lock`" + `; to add a package, add a line with its name.
`

// readLock returns the packages for arch and those for all architectures.
func readLock(name, arch string) ([]pkg, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var out []pkg
	for n, fields := range lockLines(b) {
		if len(fields) != 4 || len(fields[3]) != 64 {
			return nil, fmt.Errorf("%s:%d: want NAME VERSION ARCHITECTURE SHA256", name, n)
		}
		if p := (pkg{fields[0], fields[1], fields[2], fields[3]}); p.arch == arch || p.arch == "all" {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no package for %s", name, arch)
	}
	return out, nil
}

// lockLines yields the number and the fields of each line that has fields.
func lockLines(b []byte) func(yield func(int, []string) bool) {
	return func(yield func(int, []string) bool) {
		n := 0
		for line := range strings.Lines(string(b)) {
			n++
			line, _, _ = strings.Cut(line, "#")
			if f := strings.Fields(line); len(f) > 0 && !yield(n, f) {
				return
			}
		}
	}
}

// updateLock pins the versions that apt's sources have of the packages in the
// file.
func updateLock(name, cache string) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var names []string
	for _, fields := range lockLines(b) {
		names = append(names, fields[0])
	}
	slices.Sort(names)
	names = slices.Compact(names)
	var pkgs []pkg
	for _, arch := range []string{"amd64", "arm64"} {
		found, err := candidates(cache, arch, names)
		if err != nil {
			return err
		}
		pkgs = append(pkgs, found...)
	}
	return os.WriteFile(name, formatLock(pkgs), 0o644)
}

func formatLock(pkgs []pkg) []byte {
	slices.SortFunc(pkgs, func(a, b pkg) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.arch, b.arch)) })
	pkgs = slices.Compact(pkgs) // a package for all architectures was found once for each architecture
	b := bytes.NewBufferString(lockHeader)
	for _, p := range pkgs {
		fmt.Fprintln(b, p.name, p.version, p.arch, p.sha256)
	}
	return b.Bytes()
}
