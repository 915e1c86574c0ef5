// SPDX-License-Identifier: Apache-2.0

// Package nftables steers with nftables rules, which need no command.
package nftables

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/steering"
	"github.com/nodelocaldns/nodelocaldns/internal/nft"
)

// Table is the name of the nftables backend's table, one a family.
const Table = "nodelocaldns"

// priorityRaw is that of iptables' raw table: before connection tracking (-200).
const priorityRaw = -300

// A Firewall steers with nftables rules of its own. It has no accept rules: in nftables a packet that one table
// accepts is still dropped by another.
type Firewall struct {
	fams  []family.Family
	watch nft.Watch
}

// New returns a firewall that has rules for fams.
func New(fams []family.Family) *Firewall { return &Firewall{fams: fams} }

// String returns the name of the backend.
func (f *Firewall) String() string { return "nftables" }

// Set replaces the tables.
func (f *Firewall) Set(s steering.Wanted) error {
	err := f.watch.Write(f.fams, Table, steering.CommentSkip, (*nft.Batch).ReplaceTable, func(t *nft.Table) {
		for _, h := range []steering.Hook{steering.RawPre, steering.RawOut} {
			t.Chain(strings.ToLower(h.Builtin), "filter", hooknum[h], priorityRaw)
			for _, r := range s.Rules(t.Family) {
				if r.Hook == h {
					t.Rule(exprs(r)...)
				}
			}
		}
	})
	if err != nil {
		return err
	}
	return f.watch.Record()
}

// Intact needs no more thorough look: the rules themselves are compared whenever anything changed in nf_tables.
func (f *Firewall) Intact(bool) (bool, error) { return f.watch.Intact() }

// Owns reports whether the rules of a family are in this backend's tables.
func (f *Firewall) Owns(backend string, fam family.Family) bool {
	return backend == f.String() && slices.Contains(f.fams, fam)
}

// Remove removes the tables of both families.
func (f *Firewall) Remove() error { return nft.RemoveTables(Table, family.Both...) }

// hooknum has the kernel's numbers of the raw table's hooks.
var hooknum = map[steering.Hook]uint32{steering.RawPre: unix.NF_INET_PRE_ROUTING, steering.RawOut: unix.NF_INET_LOCAL_OUT}

// exprs returns a rule of the raw table in the kernel's terms.
func exprs(r steering.Rule) []nft.Expr {
	e := slices.Concat(nft.MatchAddr(r.Addr, r.Source), nft.MatchProto(r.Proto), nft.MatchPort(r.Port, r.Source))
	if r.SYN {
		e = append(e, nft.MatchTCPFlags(nft.FIN|nft.SYN|nft.RST|nft.ACK, nft.SYN)...)
	}
	if r.Mark != 0 {
		e = append(e, nft.MatchMark(unix.NFT_CMP_EQ, r.Mark)...)
	}
	if r.Local {
		e = append(e, nft.MatchLocal(unix.NFT_CMP_EQ)...)
	}
	return append(e, nft.Notrack())
}
