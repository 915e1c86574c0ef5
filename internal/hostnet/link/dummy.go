// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// dummy is a link that outlives the process; only the lease takes its addresses away then.
type dummy struct{}

func (dummy) kind() string { return Dummy }

func (dummy) make(name string) error {
	return netlink.LinkAdd(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: name}})
}

func (dummy) destroy(name string) error {
	link, err := netlink.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err != nil {
		return err
	}
	return netlink.LinkDel(link)
}
