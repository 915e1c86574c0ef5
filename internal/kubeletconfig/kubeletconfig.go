// SPDX-License-Identifier: Apache-2.0

// Package kubeletconfig changes clusterDNS in the kubelet's configuration file, and restores the old value.
package kubeletconfig

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// The old lines stay in the file as comments that begin with oldMark. UndoClusterDNS or an operator can restore them.
const (
	noteMark = "# nodelocaldns kubelet-dns changed clusterDNS, which was:"
	oldMark  = "# was: "
)

var (
	kubeletKind = regexp.MustCompile(`(?m)^kind: *["']?KubeletConfiguration["']?\s*$`)
	flowList    = regexp.MustCompile(`^(\[[^\[\]{}]*\]|null|~)?\s*(#.*)?$`)
	listItem    = regexp.MustCompile(`^\s*- `)
)

// SetClusterDNS returns the configuration text with addrs as clusterDNS. All other lines stay.
func SetClusterDNS(text []byte, addrs []netip.Addr) ([]byte, error) {
	lines, old, at, err := cutClusterDNS(text)
	if err != nil {
		return nil, err
	}
	if mark := slices.Index(lines, noteMark); mark < 0 {
		was := []string{noteMark}
		for _, line := range old {
			was = append(was, oldMark+line)
		}
		lines = slices.Insert(lines, at, was...)
		at += len(was)
	}
	entry := []string{"clusterDNS:"}
	for _, a := range addrs {
		entry = append(entry, fmt.Sprintf("- %q", a))
	}
	return unlines(slices.Insert(lines, at, entry...)), nil
}

// UndoClusterDNS returns the configuration text as it was before SetClusterDNS.
func UndoClusterDNS(text []byte) ([]byte, error) {
	lines, _, at, err := cutClusterDNS(text)
	if err != nil {
		return nil, err
	}
	mark := slices.Index(lines, noteMark)
	if mark < 0 {
		return text, nil
	}
	end := mark + 1
	var old []string
	for end < len(lines) && strings.HasPrefix(lines[end], oldMark) {
		old = append(old, lines[end][len(oldMark):])
		end++
	}
	if at != end {
		return nil, fmt.Errorf("clusterDNS does not follow the comment %q: put it right by hand", noteMark)
	}
	return unlines(slices.Replace(lines, mark, end, old...)), nil
}

// cutClusterDNS returns the lines of text without clusterDNS, the lines of clusterDNS, and their index at, where new lines may be put.
func cutClusterDNS(text []byte) (lines, old []string, at int, err error) {
	if !kubeletKind.Match(text) {
		return nil, nil, 0, errors.New("not a KubeletConfiguration in YAML")
	}
	lines = strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	at = slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "clusterDNS:") })
	if at < 0 {
		return lines, nil, len(lines), nil
	}
	value := strings.TrimSpace(lines[at][len("clusterDNS:"):])
	if !flowList.MatchString(value) {
		return nil, nil, 0, fmt.Errorf("line %d: cannot read this form of clusterDNS: %s", at+1, value)
	}
	end := at + 1
	for i := end; i < len(lines); i++ {
		line := strings.TrimSpace(lines[i])
		switch {
		case line == "" || line[0] == '#': // within the list, if an item follows
		case listItem.MatchString(lines[i]):
			end = i + 1
		case strings.ContainsAny(lines[i][:1], " \t-?"):
			return nil, nil, 0, fmt.Errorf("line %d: cannot read this form of clusterDNS: %s", i+1, line)
		default:
			i = len(lines) // the next key
		}
	}
	old = slices.Clone(lines[at:end])
	return slices.Delete(lines, at, end), old, at, nil
}

func unlines(lines []string) []byte { return []byte(strings.Join(lines, "\n") + "\n") }
