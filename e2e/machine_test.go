// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
)

// connectionsMax is the kernel's limit of tracked connections, of all namespaces.
const connectionsMax = "/proc/sys/net/netfilter/nf_conntrack_max"

// own returns why a test must not change what all programs of the machine share; nil in a virtual machine, where it may.
func own() error {
	if emulated {
		return nil
	}
	return errors.New("the time of day and the limit of tracked connections are the whole machine's")
}

// TestTimeOfDay sets the clock an hour ahead, and two back. Nobody notices: what the cache measures it measures with a clock
// that nobody sets.
func TestTimeOfDay(t *testing.T) {
	lab.NeedsKernel(t, own())
	s, loads := machine(t)
	for _, jump := range []time.Duration{time.Hour, -2 * time.Hour, time.Hour} {
		now := unix.NsecToTimeval(time.Now().Add(jump).UnixNano())
		if err := unix.Settimeofday(&now); err != nil {
			t.Fatal(err)
		}
		progress(t, loads, 4)
	}
	s.unharmed(t)
	noFailure(t, stop(t, loads))
}

// TestConnectionsFull has a kernel that tracks no further connection. Queries to the cache are not tracked, so that what it knows is
// answered; new names are, as long as a connection to the cluster DNS lives.
func TestConnectionsFull(t *testing.T) {
	lab.NeedsKernel(t, own())
	s, loads := machine(t)
	before, err := os.ReadFile(connectionsMax)
	if err != nil {
		t.Fatal(err)
	}
	limit := func(value string) {
		if err := os.WriteFile(connectionsMax, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	limit("1") // of which there are more already
	t.Cleanup(func() { limit(strings.TrimSpace(string(before))) })
	if _, err := s.lab.Outside.Dial("tcp", client.Port53(lab.UpstreamIP), time.Second); err == nil {
		t.Error("a connection through the node was tracked all the same")
	}
	known := append(loads[:2:2], loads[3]) // without new names
	progress(t, known, 10)
	limit(strings.TrimSpace(string(before)))
	s.unharmed(t)
	progress(t, loads, 4)
	reports := stop(t, loads)
	noFailure(t, append(reports[:2:2], reports[3]))
	t.Logf("new names meanwhile: %s", reports[2])
}

// machine is a cache with a bystander that asks.
func machine(t *testing.T) (*scene, []*client.Load) {
	t.Helper()
	l := lab.New(t, lab.NFTables)
	s := &scene{bystander: l.NewPod(t, "bystander", 100)}
	s.cache = start(t, l, options{firewall: lab.NFTables, base: string(corefiles.Kubernetes)})
	probes := s.witness(lab.ClusterIP, "machine")
	for i := range probes {
		probes[i].Interval = interval
	}
	loads := client.StartAll(t, probes...)
	progress(t, loads, 5)
	return s, loads
}

// unharmed checks that steering was never off.
func (s *scene) unharmed(t *testing.T) {
	t.Helper()
	s.waitSteering(t, true, againTimeout)
	if n := s.counter(t, "coredns_nodelocal_withdrawals_total"); n > 0 {
		t.Errorf("%g withdrawals", n)
	}
}
