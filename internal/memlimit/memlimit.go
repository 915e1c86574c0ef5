// SPDX-License-Identifier: Apache-2.0

// Package memlimit finds the memory limit of the process and computes the sizes of its caches.
package memlimit

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
)

// A Limit is the memory limit of a process, in octets. 0 means no limit.
type Limit int64

const (
	mib = 1 << 20

	// own is the memory of the process beside its caches: 28 MB at rest, 30 MB for questions while no upstream answers, and
	// garbage (docs/operations.md, Sizing).
	own = 64 * mib
	// usual is the memory of full caches of the usual sizes: 36 MB of the plugin cache, 30 MB of packetcache at two addresses,
	// 10 MB of keep, and garbage.
	usual = 128 * mib
	// leastShare and mostShare bound the sizes of caches, in sixteenths of the usual sizes.
	leastShare, mostShare = 1, 160

	// Enough is the least limit without a warning: the caches have a quarter of their usual sizes.
	Enough Limit = own + usual/4
	// Usual is the least limit with which the caches have their usual sizes.
	Usual Limit = own + usual
)

// Share returns the size of a cache with the usual size n under the limit l. The result is in proportion to the memory that l leaves
// for caches, between n/16 and 10n.
func (l Limit) Share(n int) int {
	if l == 0 {
		return n
	}
	room := min(max(int64(l)-own, usual/16*leastShare), usual/16*mostShare)
	return int(int64(n) * (room / mib) / (usual / mib))
}

// units are units of Kubernetes' quantities, the longer names first.
var units = []struct {
	suffix string
	octets int64
}{{"Ki", 1 << 10}, {"Mi", mib}, {"Gi", 1 << 30}, {"k", 1e3}, {"M", 1e6}, {"G", 1e9}}

// Parse reads a number of octets, or a number with one of the units Ki, Mi, Gi, k, M and G. It refuses less than 16Mi, with which the
// program does not start, and more than 1024Gi.
func Parse(s string) (Limit, error) {
	number, unit := s, int64(1)
	for _, u := range units {
		if n, ok := strings.CutSuffix(s, u.suffix); ok {
			number, unit = n, u.octets
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n <= 0 || n > most/unit || n*unit < 16*mib {
		return 0, fmt.Errorf("%q: want octets, or a number with Ki, Mi, Gi, k, M or G, from 16Mi to 1024Gi", s)
	}
	return Limit(n * unit), nil
}

// String returns the limit in Mi, rounded down.
func (l Limit) String() string { return fmt.Sprintf("%dMi", l/mib) }

// Set sets Go's memory limit to nine tenths of given, or of the container's limit if given is 0. The garbage collector then works
// harder before the kernel kills the process. Set changes nothing if GOMEMLIMIT is in the environment. It returns the limit of the
// process.
func Set(given Limit) Limit {
	if os.Getenv("GOMEMLIMIT") != "" {
		return cmp.Or(Process(), given)
	}
	if given == 0 {
		given = container("/proc/self/cgroup", "/sys/fs/cgroup")
	}
	if given > 0 {
		debug.SetMemoryLimit(int64(given) / 10 * 9)
	}
	return given
}

// most is the greatest limit. A greater limit counts as none.
const most = 1 << 40

// Process returns the limit of the process. Go's memory limit is nine tenths of it.
func Process() Limit {
	n := debug.SetMemoryLimit(-1)
	if n > most {
		return 0
	}
	return Limit(max(n+n/9, 1))
}

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
		l := Limit(0)
		if fields[1] == "" {
			l = read(root, fields[2], "memory.max")
		} else if slices.Contains(strings.Split(fields[1], ","), "memory") {
			l = read(filepath.Join(root, "memory"), fields[2], "memory.limit_in_bytes")
		}
		if l > 0 {
			return l
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
