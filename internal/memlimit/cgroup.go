// SPDX-License-Identifier: Apache-2.0

package memlimit

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// unlimited is less than what cgroup v1 has for no limit (PAGE_COUNTER_MAX of linux/page_counter.h, in octets).
const unlimited = 1 << 50

// container returns the limit of the process's own cgroup; 0 if there is none, or none that can be read. The limits of the
// cgroups above do not count: that of a node's pods together says nothing of how large a cache should be.
func container(selfPath, root string) Limit {
	self, err := os.ReadFile(selfPath)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(self)) { // ID:CONTROLLERS:PATH, see cgroups(7)
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		switch {
		case fields[1] == "":
			if l := read(root, fields[2], "memory.max"); l > 0 {
				return l
			}
		case slices.Contains(strings.Split(fields[1], ","), "memory"):
			if l := read(filepath.Join(root, "memory"), fields[2], "memory.limit_in_bytes"); l > 0 {
				return l
			}
		}
	}
	return 0
}

// read returns the limit in the file of a cgroup. In a container that sees only its own cgroup, that one is the root.
func read(root, path, name string) Limit {
	text, err := os.ReadFile(filepath.Join(root, path, name))
	if err != nil {
		text, err = os.ReadFile(filepath.Join(root, name))
	}
	n, perr := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64) // "max" is no number
	if err != nil || perr != nil || n >= unlimited {
		return 0
	}
	return Limit(n)
}
