// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// steeringTable is the name of the nftables backend's table, one a family.
const steeringTable = "nodelocaldns"

// priorityRaw is that of iptables' raw table: before connection tracking (-200).
const priorityRaw = -300

// nftFirewall steers with nftables rules of its own. It has no accept rules:
// in nftables a packet that one table accepts is still dropped by another.
type nftFirewall struct {
	fams  []bool
	watch nftWatch
}

func newNFTFirewall(fams []bool) *nftFirewall { return &nftFirewall{fams: fams} }

func (f *nftFirewall) String() string { return NFTables }

func (f *nftFirewall) Set(s Steering) error {
	var b nftBatch
	f.watch.chains = nil
	for _, six := range f.fams {
		t := &tableWriter{batch: &b, watch: &f.watch, family: nftFamily(six), table: steeringTable, comment: commentSkip}
		b.replaceTable(t.family, t.table)
		for _, h := range []hook{rawPre, rawOut} {
			t.chain(strings.ToLower(h.builtin()), "filter", h.hooknum(), priorityRaw)
			for _, r := range s.rules(six) {
				if r.hook == h {
					t.rule(r.exprs()...)
				}
			}
		}
	}
	if err := b.commit(); err != nil {
		return err
	}
	return f.watch.record()
}

// Intact needs no more thorough look: the kernel's own handles are compared each time.
func (f *nftFirewall) Intact(bool) (bool, error) { return f.watch.intact() }

func (f *nftFirewall) Remove() error { return removeTables(steeringTable, false, true) }

// removeTables deletes the tables of that name of the families, if they are there.
func removeTables(name string, fams ...bool) error {
	var errs []error
	for _, six := range fams {
		exists, err := nftTableExists(nftFamily(six), name)
		if err == nil && exists {
			var b nftBatch
			b.delTable(nftFamily(six), name)
			err = b.commit()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("removing nftables table %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func nftFamily(six bool) byte {
	if six {
		return unix.NFPROTO_IPV6
	}
	return unix.NFPROTO_IPV4
}

// hooknum is the kernel's number of h, which is one of the raw table's.
func (h hook) hooknum() uint32 {
	return map[hook]uint32{rawPre: unix.NF_INET_PRE_ROUTING, rawOut: unix.NF_INET_LOCAL_OUT}[h]
}

// exprs is what nft makes of r.nft().
func (r rule) exprs() []nftExpr {
	e := slices.Concat(matchAddr(r.addr, r.source), matchProto(r.proto), matchPort(r.port, r.source))
	if r.syn {
		e = append(e, matchTCPFlags(tcpFIN|tcpSYN|tcpRST|tcpACK, tcpSYN)...)
	}
	if r.mark != 0 {
		e = append(e, matchMark(unix.NFT_CMP_EQ, r.mark)...)
	}
	if r.local {
		e = append(e, matchLocal(unix.NFT_CMP_EQ)...)
	}
	return append(e, exprNotrack())
}
