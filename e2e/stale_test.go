// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/upstream"
)

// TestUpstreamStale is what the default template makes of answers that have run out. What the cluster DNS says goes, also
// that a name is gone, or there at last; and while it says nothing the old answer is better than none.
func TestUpstreamStale(t *testing.T) {
	t.Parallel()
	const stays, moves, goes, comes = "stays.cluster.local.", "moves.cluster.local.", "goes.cluster.local.", "comes.cluster.local."
	first, second := netip.MustParseAddr("10.96.1.1"), netip.MustParseAddr("10.96.2.2")
	l := lab.New(t, lab.IPTablesNFT)
	pod := l.NewReplica(t)
	script := upstream.StartScript(t, pod.Namespace, pod.IP)
	for _, name := range []string{stays, moves, goes} {
		script.Set(name, first)
	}
	l.Endpoints(t, pod.IP)
	start(t, l, options{firewall: lab.IPTablesNFT, base: string(corefiles.Kubernetes)})
	for name, want := range map[string]string{stays: first.String(), moves: first.String(), goes: first.String(), comes: ""} {
		resolves(t, l, name, want)
	}
	script.Set(moves, second)
	script.Set(goes, netip.Addr{})
	script.Set(comes, second)
	<-time.After((upstream.ScriptTTL + 1) * time.Second) // all of them run out
	for name, want := range map[string]string{moves: second.String(), goes: "", comes: second.String()} {
		resolves(t, l, name, want)
	}
	script.Silence(true)
	for i := range 3 {
		t.Logf("old answer %d after %s", i, resolves(t, l, stays, first.String()))
	}
	script.Set(stays, second)
	script.Silence(false)
	harness.Until(t, 15*time.Second, "new answer after the silence", func() error {
		return is(l, stays, second.String())
	})
}

// resolves asks the cache once, and checks what it says and that the answer is not for long. An empty address: no such name.
func resolves(t *testing.T, l *lab.Lab, name, want string) time.Duration {
	t.Helper()
	begin := time.Now()
	if err := is(l, name, want); err != nil {
		t.Error(err)
	}
	return time.Since(begin)
}

func is(l *lab.Lab, name, want string) error {
	msg, err := client.Ask(l.Pod, client.Query{Server: client.Port53(lab.LinkLocal), Name: name, Type: dns.TypeA})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	got := ""
	for _, rr := range msg.Answer {
		a, ok := rr.(*dns.A)
		if !ok || a.Hdr.Ttl > upstream.ScriptTTL {
			return fmt.Errorf("%s: got %s", name, rr)
		}
		got = a.A.String()
	}
	if got != want || want == "" && msg.Rcode != dns.RcodeNameError || want != "" && msg.Rcode != dns.RcodeSuccess {
		return fmt.Errorf("%s: got %q, %s; want %q", name, got, dns.RcodeToString[msg.Rcode], want)
	}
	return nil
}
