// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nodelocaldns/nodelocaldns/e2e/coredns/infront"
)

// lists are the lists of plugins.
type lists struct {
	dir   string   // the sources of CoreDNS
	stock []string // of CoreDNS, in its order
	ours  []string // of this repository's plugin.cfg, in its order
	all   []string // ours, and the others of stock at their place
	own   []string // directories below plugin/ of this repository
	built []string // directories below plugin/ of CoreDNS that are compiled in
}

// readLists reads both files plugin.cfg. It runs in the root of the module.
func readLists() (l lists, err error) {
	out, err := exec.Command("go", "list", "-f", "{{.Module.Dir}}", "github.com/coredns/coredns/coremain").Output()
	if err != nil {
		return l, fmt.Errorf("finding CoreDNS: %w", err)
	}
	l.dir = strings.TrimSpace(string(out))
	stock, err := readList(filepath.Join(l.dir, "plugin.cfg"))
	if err != nil {
		return l, err
	}
	ours, err := readList("plugin.cfg")
	if err != nil {
		return l, err
	}
	for _, e := range stock {
		l.stock = append(l.stock, e[0])
	}
	for _, e := range ours {
		l.ours = append(l.ours, e[0])
		if _, err := os.Stat(filepath.Join("plugin", e[1])); err == nil {
			l.own = append(l.own, e[1])
		} else {
			l.built = append(l.built, e[1])
		}
	}
	l.all = merge(l.ours, l.stock)
	return l, nil
}

// readList returns name and path of each line of a plugin.cfg.
func readList(file string) (entries [][2]string, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		if name, path, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && !strings.HasPrefix(name, "#") {
			entries = append(entries, [2]string{name, path})
		}
	}
	return entries, nil
}

// merge returns ours with the others of stock. Each of them stands behind the one that it follows in stock; the first of stock
// stands in front of the next.
func merge(ours, stock []string) []string {
	all := slices.Clone(ours)
	for i, name := range stock {
		if slices.Contains(all, name) {
			continue
		}
		at := len(all)
		if i > 0 {
			at = slices.Index(all, stock[i-1]) + 1
		} else if next := slices.IndexFunc(all, func(n string) bool { return slices.Contains(stock, n) }); next >= 0 {
			at = next
		}
		all = slices.Insert(all, at, name)
	}
	return all
}

// A variant is one way to run CoreDNS's tests.
type variant struct {
	name    string
	env     []string
	inFront bool // a plugin of this repository is in each Corefile
	base    int  // index of the variant that shows what fails without the plugins of this repository
}

// runsOf returns the variants. The first is CoreDNS's own.
func runsOf(l lists) []variant {
	ours, all := infront.Directives+"="+strings.Join(l.ours, ","), infront.Directives+"="+strings.Join(l.all, ",")
	front, twice := infront.Front+"=1", infront.Twice+"=1"
	return []variant{
		{name: "stock"},
		{name: "ours", env: []string{ours}},
		{name: "ours and the rest", env: []string{all}},
		{name: "ours in each Corefile", env: []string{all, front}, inFront: true},
		{name: "stock, asked twice", env: []string{twice}, base: 4},
		{name: "ours in each Corefile, asked twice", env: []string{all, front, twice}, inFront: true, base: 4},
	}
}
