// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/fallback"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/instance"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/link"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/nftables"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/uplink"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/xtables"
	"github.com/nodelocaldns/nodelocaldns/internal/nft"
)

// ownTables are the nftables tables of a cache, and the families that may have them.
var ownTables = []struct {
	name string
	fams []family.Family
}{{uplink.ARPTable, []family.Family{nft.ARP}}, {nftables.Table, family.Both}, {fallback.Name, family.Both}}

// Look describes what is on the node of caches: who the instances are that run, and what there is of links (with our mark, or with
// the name iface), rules and tables. It changes nothing. The error says what could not be looked at; the rest holds all the same.
func Look(iface string) (instances, found []string, err error) {
	found, lerr := link.Look(iface)
	found = append(found, xtables.Look()...)
	errs := []error{lerr}
	for _, t := range ownTables {
		for _, f := range t.fams {
			ok, err := nft.TableExists(f, t.name)
			if ok && err == nil {
				found = append(found, fmt.Sprintf("nftables table %s %s", f, t.name))
			}
			errs = append(errs, err)
		}
	}
	return instance.Holders(), found, errors.Join(errs...)
}
