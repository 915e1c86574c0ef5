// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"testing"

	"github.com/vishvananda/netlink"
)

// TestUninterrupted has lists that are interrupted some times, always, and that fail.
func TestUninterrupted(t *testing.T) {
	broken := errors.New("no such file")
	for name, tc := range map[string]struct {
		errs []error // of the attempts; the last one goes on
		want error
		read int
	}{
		"at once":   {[]error{nil}, nil, 1},
		"later":     {[]error{netlink.ErrDumpInterrupted, netlink.ErrDumpInterrupted, nil}, nil, 3},
		"never":     {[]error{netlink.ErrDumpInterrupted}, netlink.ErrDumpInterrupted, 5},
		"it fails":  {[]error{broken}, broken, 1},
		"and fails": {[]error{netlink.ErrDumpInterrupted, broken}, broken, 2},
	} {
		read := 0
		got, err := Uninterrupted(func() ([]int, error) {
			read++
			return []int{read}, tc.errs[min(read, len(tc.errs))-1]
		})
		if !errors.Is(err, tc.want) || read != tc.read || len(got) != 1 || got[0] != read {
			t.Errorf("%s: %v, %v after %d attempts, want %v after %d", name, got, err, read, tc.want, tc.read)
		}
	}
}
