// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/uplink"
	"github.com/nodelocaldns/nodelocaldns/internal/nft"
)

// Uplinks returns the interfaces of the default routes, as last seen. There are
// none if the rules are somebody else's, or Config.Uplink is UplinkOpen.
func (n *Network) Uplinks() []Uplink { return n.uplinks }

// lookAtUplinks brings what Uplinks returns up to date, and reports whether that changed.
func (n *Network) lookAtUplinks() (changed bool, err error) {
	var now []Uplink
	if n.cfg.Firewall != None && n.cfg.Uplink != UplinkOpen {
		if now, err = uplink.List(); err != nil {
			return false, err
		}
	}
	if len(now) == 0 && n.cfg.Uplink != UplinkOpen { // a default route that is gone for a moment is no reason to open the node
		now = slices.DeleteFunc(slices.Clone(n.uplinks), func(u Uplink) bool {
			_, err := netlink.LinkByName(u.Name)
			return err != nil
		})
	}
	changed = !slices.Equal(now, n.uplinks)
	n.uplinks = now
	return changed, nil
}

// closed returns the names of the uplinks that no pod comes in by.
func (n *Network) closed() (names []string) {
	for _, u := range n.uplinks {
		if u.Pods == "" {
			names = append(names, u.Name)
		}
	}
	return names
}

// FollowUplinks makes the rules those of the default routes as they are now. It
// returns ErrTurn or ErrLocked if that is to be tried again.
func (n *Network) FollowUplinks() error {
	before := n.uplinks
	changed, err := n.lookAtUplinks()
	if !changed || err != nil {
		return err
	}
	if err := n.Steer(n.steered); err != nil {
		n.uplinks = before // to be tried again
		return err
	}
	return nil
}

// setARP sets the ARP table for the present uplinks. If the kernel has nf_tables, but
// not for ARP, the node still answers, and one warning says so.
func (n *Network) setARP() {
	err := uplink.RefuseARP(n.closed(), n.cfg.Addresses)
	if _, lacks := nft.Generation(); err == nil || lacks != nil || n.arpFailed {
		return // without nf_tables there is another line
	}
	n.arpFailed = true
	n.warnings = append(n.warnings, fmt.Sprintf("The node answers ARP for %v on %v: %v", family.IPv4.Only(n.cfg.Addresses), n.closed(), err))
}
