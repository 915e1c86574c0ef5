// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// journal is what the fakes of a test did, in order.
type journal []string

func (j *journal) add(format string, args ...any) {
	if j != nil {
		*j = append(*j, fmt.Sprintf(format, args...))
	}
}

func (j journal) String() string { return strings.Join(j, "\n") }

type fakeFirewall struct {
	*journal
	err error
}

func (f *fakeFirewall) Set(s Steering) error      { f.add("steer %v", s.Steered); return f.err }
func (f *fakeFirewall) Intact(bool) (bool, error) { return true, nil }
func (f *fakeFirewall) Remove() error             { f.add("remove rules"); return nil }
func (f *fakeFirewall) String() string            { return "fake rules" }

type fakeLink struct{ *journal }

func (l fakeLink) Set(addrs []netip.Addr, lease time.Duration) (bool, error) {
	l.add("addresses %v for %s", addrs, lease)
	return false, nil
}
func (l fakeLink) Yield() error   { l.add("yield"); return nil }
func (l fakeLink) Close() error   { l.add("remove link"); return nil }
func (l fakeLink) String() string { return "fake link" }
