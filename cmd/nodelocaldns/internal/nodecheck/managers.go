// SPDX-License-Identifier: Apache-2.0

package nodecheck

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// exists reports whether the host has the file.
func (e *Env) exists(path string) bool {
	_, err := os.Stat(e.Root + path)
	return err == nil
}

// configs returns the lines of the host's files that match the patterns, by file, without comments. A file in /etc replaces one of
// the same name in /run, and that one in /usr/lib.
func (e *Env) configs(folder, pattern string) map[string][]string {
	files, seen := map[string][]string{}, map[string]bool{}
	for _, base := range []string{"/etc/", "/run/", "/usr/lib/"} {
		paths, _ := filepath.Glob(e.Root + base + folder + "/" + pattern) // the pattern is well formed
		for _, p := range paths {
			text, err := os.ReadFile(p)
			if err != nil || seen[filepath.Base(p)] {
				continue
			}
			seen[filepath.Base(p)] = true
			for line := range strings.Lines(string(text)) {
				if line = strings.TrimSpace(line); line != "" && line[0] != '#' && line[0] != ';' {
					files[p] = append(files[p], line)
				}
			}
		}
	}
	return files
}

// networkManager looks whether NetworkManager leaves the link alone.
func networkManager(_ context.Context, e *Env) []Finding {
	if !e.exists("/run/NetworkManager") || e.LinkKind == "none" {
		return nil
	}
	files := e.configs("NetworkManager/conf.d", "*.conf")
	for file, lines := range e.configs("NetworkManager", "NetworkManager.conf") {
		files[file] = lines
	}
	for _, lines := range files {
		for _, line := range lines {
			if key, value, _ := strings.Cut(line, "="); strings.HasPrefix(strings.TrimSpace(key), "unmanaged-devices") && e.names(value) {
				return nil
			}
		}
	}
	return one(Warning, "NetworkManager runs, and no configuration keeps it from the link "+e.LinkName,
		"it may take addresses off the link: the cache puts them back, and DNS is away from the cache in between",
		fmt.Sprintf("a file in /etc/NetworkManager/conf.d with [keyfile] and unmanaged-devices=interface-name:%s*, then systemctl reload NetworkManager", e.LinkName))
}

// names reports whether a list of NetworkManager's devices has the link.
func (e *Env) names(list string) bool {
	return slices.ContainsFunc(strings.FieldsFunc(list, func(r rune) bool { return r == ';' || r == ',' }), func(device string) bool {
		device = strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(device), "interface-name:"), "=")
		ok, err := path.Match(device, e.LinkName)
		return ok && err == nil
	})
}

// networkd looks for a file by which systemd-networkd would configure the link.
func networkd(_ context.Context, e *Env) (found []Finding) {
	if !e.exists("/run/systemd/netif") || e.LinkKind == "none" {
		return nil
	}
	files := e.configs("systemd/network", "*.network")
	var names []string
	for file := range files {
		names = append(names, file)
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(filepath.Base(a), filepath.Base(b)) })
	for _, file := range names { // the first that matches is the one that counts
		matches, unmanaged := e.matches(files[file])
		if matches && unmanaged {
			return nil
		}
		if matches {
			return one(Warning, fmt.Sprintf("systemd-networkd takes the link %s for one of its own: %s", e.LinkName, strings.TrimPrefix(file, e.Root)),
				"it removes addresses that are not in its configuration: the cache puts them back, and DNS is away from the cache in between",
				fmt.Sprintf("a file /etc/systemd/network/00-nodelocaldns.network with [Match] Name=%s* and [Link] Unmanaged=yes", e.LinkName))
		}
	}
	return nil
}

// matches reports whether a .network file is for the link, by its name alone, and whether it says to leave the link alone.
func (e *Env) matches(lines []string) (matches, unmanaged bool) {
	section, only := "", true
	for _, line := range lines {
		key, value, _ := strings.Cut(line, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch {
		case strings.HasPrefix(line, "["):
			section = line
		case section == "[Match]" && key == "Name":
			matches = slices.ContainsFunc(strings.Fields(value), func(glob string) bool {
				ok, err := path.Match(glob, e.LinkName)
				return ok && err == nil
			})
		case section == "[Match]":
			only = only && key == "Type" && slices.Contains(strings.Fields(value), "none")
		case section == "[Link]" && key == "Unmanaged":
			unmanaged = value == "yes" || value == "true"
		}
	}
	return matches && only, unmanaged
}
