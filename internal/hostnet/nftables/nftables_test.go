// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/steering"
	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

// What nft lists is what the rules print as: the encoding says what is meant.
func TestNFTText(t *testing.T) {
	nettest.InNamespace(t)
	fw := New(family.Both)
	s := steering.Wanted{
		Addresses: nettest.Addrs("169.254.20.10 10.96.0.10 fd00::10"), Steered: nettest.Addrs("169.254.20.10 fd00::10"), Port: 53, HealthPort: 8080,
	}
	s.Settling = nettest.Addrs("fd00::10")
	if err := fw.Set(s); err != nil {
		t.Fatal(err)
	}
	for _, f := range family.Both {
		var want []string
		for _, h := range []steering.Hook{steering.RawPre, steering.RawOut} {
			for _, r := range s.Rules(f) {
				if r.Hook == h {
					want = append(want, listed(r))
				}
			}
		}
		if got := nettest.RuleLines(nettest.Command(t, "nft", "list", "table", f.String(), Table)); got != strings.Join(want, "\n") {
			t.Errorf("got:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
		}
	}
}

// listed prints r, which must be of the raw table, as nft lists it.
func listed(r steering.Rule) string {
	var b strings.Builder
	dir, port := "daddr", "dport"
	if r.Source {
		dir, port = "saddr", "sport"
	}
	fmt.Fprintf(&b, "%s %s %s %s %s %d", family.Of(r.Addr), dir, r.Addr, r.Proto, port, r.Port)
	if r.SYN {
		b.WriteString(" tcp flags syn / fin,syn,rst,ack")
	}
	if r.Mark != 0 {
		fmt.Fprintf(&b, " meta mark %#08x", r.Mark)
	}
	if r.Local {
		b.WriteString(" fib daddr type local")
	}
	fmt.Fprintf(&b, " notrack comment %q", steering.CommentSkip)
	return b.String()
}
