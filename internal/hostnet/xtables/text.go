// SPDX-License-Identifier: Apache-2.0

package xtables

import (
	"fmt"
	"strings"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/steering"
)

// This file decides what to tell iptables-restore, given what iptables-save printed; it runs nothing.

// restoreInput returns the input of `iptables-restore --noflush` that makes the rules what s says, whatever was
// there. It fills our chains anew, leaves one jump to each, and deletes the reference's rules: they would stay in
// effect when the cache dies. Each table changes at once.
func restoreInput(saved string, s steering.Wanted, fam family.Family) string {
	rules := s.Rules(fam)
	return eachTable(saved, func(b *strings.Builder, h steering.Hook, t savedTable) {
		for range t.jumps(h) - 1 {
			fmt.Fprintf(b, "-D %s -j %s\n", h.Builtin, h.Chain)
		}
		if t.jumps(h) == 0 {
			fmt.Fprintf(b, "-I %s 1 -j %s\n", h.Builtin, h.Chain)
		}
		for _, r := range rules {
			if r.Hook == h {
				fmt.Fprintln(b, r.IPTables())
			}
		}
	}, func(h steering.Hook, _ savedTable) bool { return true })
}

// removeInput returns the input that takes out every rule of ours and of the reference; it is empty if there is none.
func removeInput(saved string) string {
	return eachTable(saved, func(b *strings.Builder, h steering.Hook, t savedTable) {
		for range t.jumps(h) {
			fmt.Fprintf(b, "-D %s -j %s\n", h.Builtin, h.Chain)
		}
		if t.hasChain(h) {
			fmt.Fprintf(b, "-X %s\n", h.Chain)
		}
	}, func(h steering.Hook, t savedTable) bool { return t.hasChain(h) })
}

// words splits a line of iptables-restore's input into arguments; what is between two quotes is one.
func words(line string) (out []string) {
	for i, part := range strings.Split(line, `"`) {
		if i%2 == 1 {
			out = append(out, part)
		} else {
			out = append(out, strings.Fields(part)...)
		}
	}
	return out
}

// eachTable prints, for the two tables of ours, the chains that want selects (emptied if they exist), the deletion of
// the reference's rules, and what body prints for each hook. A table with nothing to do is left out.
func eachTable(saved string, body func(*strings.Builder, steering.Hook, savedTable), want func(steering.Hook, savedTable) bool) string {
	var out strings.Builder
	for _, table := range []string{"raw", "filter"} {
		t := parseSaved(saved, table)
		var b strings.Builder
		for _, h := range steering.Hooks {
			if h.Table == table && want(h, t) {
				fmt.Fprintf(&b, ":%s - [0:0]\n", h.Chain)
			}
		}
		for _, line := range t {
			if isReference(line) {
				b.WriteString("-D" + strings.TrimPrefix(line, "-A"))
			}
		}
		for _, h := range steering.Hooks {
			if h.Table == table {
				body(&b, h, t)
			}
		}
		if b.Len() > 0 {
			fmt.Fprintf(&out, "*%s\n%sCOMMIT\n", table, b.String())
		}
	}
	return out.String()
}

// complete reports whether iptables-save printed as many rules of ours as s has, and one jump to each chain.
func complete(saved string, s steering.Wanted, fam family.Family) bool {
	wanted := restoreInput("", s, fam)
	for _, h := range steering.Hooks {
		t := parseSaved(saved, h.Table)
		if t.jumps(h) != 1 || t.rules(h) != parseSaved(wanted, h.Table).rules(h) {
			return false
		}
	}
	return true
}

// A savedTable is the lines of one table in iptables-save's output.
type savedTable []string

func parseSaved(saved, table string) (t savedTable) {
	in := false
	for line := range strings.Lines(saved) {
		if strings.HasPrefix(line, "*") {
			in = line == "*"+table+"\n"
		} else if in {
			t = append(t, line)
		}
	}
	return t
}

// count returns how many lines begin so.
func (t savedTable) count(format string, args ...any) (n int) {
	begin := fmt.Sprintf(format, args...)
	for _, line := range t {
		if strings.HasPrefix(line, begin) {
			n++
		}
	}
	return n
}

func (t savedTable) hasChain(h steering.Hook) bool { return t.count(":%s ", h.Chain) > 0 }

func (t savedTable) rules(h steering.Hook) int { return t.count("-A %s ", h.Chain) }

func (t savedTable) jumps(h steering.Hook) int {
	return t.count("-A %s -j %s\n", h.Builtin, h.Chain)
}

// isReference reports whether k8s-dns-node-cache has put the rule into a built-in chain.
func isReference(rule string) bool {
	ours := strings.HasPrefix(rule, "-A "+steering.ChainPrefix)
	return !ours && (strings.Contains(rule, `"`+steering.CommentSkip+`"`) || strings.Contains(rule, `"`+steering.CommentAllow+`"`))
}

// relevant returns the lines of iptables-save that restoreInput and ownLines use.
func relevant(saved string) string {
	var b strings.Builder
	for line := range strings.Lines(saved) {
		if strings.HasPrefix(line, "*") || strings.Contains(line, steering.ChainPrefix) || strings.Contains(line, steering.CommentSkip) || strings.Contains(line, steering.CommentAllow) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// unseen returns what iptables-save would print of the chains that restoreInput makes, for the tables of which it
// printed nothing.
func unseen(saved string) string {
	var b strings.Builder
	for _, h := range steering.Hooks {
		if !hasTable(saved, h.Table) {
			fmt.Fprintf(&b, "*%s\n:%s - [0:0]\n-A %s -j %s\n", h.Table, h.Chain, h.Builtin, h.Chain)
		}
	}
	return b.String()
}

func hasTable(saved, table string) bool { return strings.Contains("\n"+saved, "\n*"+table+"\n") }

// ownLines returns the lines of iptables-save that are ours. Two equal results mean equal rules.
func ownLines(saved string) string {
	var b strings.Builder
	for line := range strings.Lines(saved) {
		if strings.HasPrefix(line, "-A ") && strings.Contains(line, steering.ChainPrefix) {
			b.WriteString(line)
		}
	}
	return b.String()
}
