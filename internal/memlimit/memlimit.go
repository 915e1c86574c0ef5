// SPDX-License-Identifier: Apache-2.0

// Package memlimit finds out how much memory the process may take, and computes the sizes of its caches from that.
package memlimit

import (
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// A Limit is the memory that a process may take, in octets. 0 is none.
type Limit int64

const (
	mib = 1 << 20

	// own is what the process takes beside its caches: 28 MB at rest, 30 MB for what is in flight while no upstream answers,
	// and some garbage (docs/operations.md, Sizing).
	own = 64 * mib
	// usual is what the caches take when they have their usual sizes and are full: 36 MB of the cache plugin, 30 MB of
	// packetcache at two addresses, 10 MB of keep, and as much garbage as fits between them and the limit.
	usual = 128 * mib
	// leastShare and mostShare bound the caches' sizes, in sixteenths of the usual ones.
	leastShare, mostShare = 1, 160

	// Enough is the least limit with which nobody need be warned: the caches have a quarter of their usual sizes.
	Enough Limit = own + usual/4
	// Usual is the least limit with which the caches have their usual sizes.
	Usual Limit = own + usual
)

// Share returns what a cache of the usual size n has with the limit: in proportion to the memory that is left for caches, between
// a sixteenth and ten times of n.
func (l Limit) Share(n int) int {
	if l == 0 {
		return n
	}
	room := min(max(int64(l)-own, usual/16*leastShare), usual/16*mostShare)
	return int(int64(n) * (room / mib) / (usual / mib))
}

// units are those of Kubernetes' quantities that make sense here, the longer ones first.
var units = []struct {
	suffix string
	octets int64
}{{"Ki", 1 << 10}, {"Mi", mib}, {"Gi", 1 << 30}, {"k", 1e3}, {"M", 1e6}, {"G", 1e9}}

// Parse reads octets, or a number with one of the units Ki, Mi, Gi, k, M and G. It refuses less than 16Mi, with which no Go
// program of this size starts, and more than 1024Gi.
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

// String returns the limit in Mi, without what is less.
func (l Limit) String() string { return fmt.Sprintf("%dMi", l/mib) }

// Set gives Go's memory limit nine tenths of given, or, if that is 0, of the container's limit, so that the garbage collector
// works harder before the kernel kills. GOMEMLIMIT in the environment wins, unless that is off. Set returns the limit of the
// process.
func Set(given Limit) Limit {
	if os.Getenv("GOMEMLIMIT") != "" {
		if l := Process(); l > 0 {
			return l
		}
		return given
	}
	if given == 0 {
		given = container("/proc/self/cgroup", "/sys/fs/cgroup")
	}
	if given > 0 {
		debug.SetMemoryLimit(int64(given) / 10 * 9)
	}
	return given
}

// most is the greatest limit that makes a difference to anything here.
const most = 1 << 40

// Process returns the limit of the process, of which nine tenths are Go's.
func Process() Limit {
	n := debug.SetMemoryLimit(-1)
	if n > most {
		return 0
	}
	return Limit(max(n+n/9, 1))
}
