// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// checkCapability says in one line what every later step would say in its own way.
func checkCapability(cfg Config) error {
	if cfg.Link == None && cfg.Firewall == None && len(cfg.Fallback) == 0 {
		return nil
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Errorf("asking for this process's capabilities: %w", err)
	}
	if data[0].Effective&(1<<unix.CAP_NET_ADMIN) == 0 {
		return errors.New("CAP_NET_ADMIN is missing: run as root, or add NET_ADMIN to the container's capabilities")
	}
	return nil
}

// openFirewall chooses and probes the backend. In auto that is iptables where
// its commands work: there, and only there, an accept rule can be placed in the
// host's own firewall.
func (n *Network) openFirewall() (Firewall, error) {
	fams := families(n.cfg.Addresses)
	switch n.cfg.Firewall {
	case None:
		return noFirewall{}, nil
	case NFTables:
		return newNFTFirewall(fams), nil
	}
	f, err := newIPTables(hostVariant(), fams)
	if err == nil {
		return f, nil
	}
	if n.cfg.Firewall == Auto {
		if _, nftErr := nftGeneration(); nftErr == nil {
			if errors.As(err, new(unreadableError)) {
				n.warnings = append(n.warnings, noIPTables(err))
			}
			return newNFTFirewall(fams), nil
		} else {
			err = errors.Join(err, nftErr)
		}
	}
	return nil, err
}

// applyAny is apply. Where the choice is ours, nftables takes the place of an
// iptables whose commands work and whose rules the kernel has no modules for, or
// whose tables it cannot read any more.
func (n *Network) applyAny(addrs []netip.Addr) error {
	err := n.apply(addrs)
	useless := errors.As(err, new(lackingError)) || errors.As(err, new(unreadableError))
	if n.cfg.Firewall != Auto || !useless || n.fallback == nil {
		return err
	}
	failed := n.firewall
	n.firewall = newNFTFirewall(families(n.cfg.Addresses))
	nftErr := n.apply(addrs)
	if failed.Remove() != nil { // what it did before it failed, if anything
		n.met = true // Inherit tries again
	}
	if nftErr != nil {
		return fmt.Errorf("%w; %w", err, nftErr)
	}
	n.warnings = append(n.warnings, noIPTables(err))
	return nil
}

func noIPTables(err error) string {
	return fmt.Sprintf("No iptables (%v): using nftables; a firewall of the host's that drops has to accept DNS to the cache by itself", err)
}

// noFirewall leaves the rules to somebody else.
type noFirewall struct{}

func (noFirewall) Set(Steering) error        { return nil }
func (noFirewall) Intact(bool) (bool, error) { return true, nil }
func (noFirewall) Remove() error             { return nil }
func (noFirewall) String() string            { return "no rules" }

// openLink chooses the kind of link and checks that its name is free; it creates nothing.
func (n *Network) openLink() (Link, error) {
	name := n.linkName()
	if n.cfg.Link == None {
		return noLink{}, nil
	}
	if err := n.checkAddresses(name); err != nil {
		return nil, err
	}
	if err := clearLink(name, n.cfg.Addresses); err != nil {
		return nil, err
	}
	link := &kernelLink{maker: dummy{}, name: name}
	if n.cfg.Link == Dummy {
		return link, nil
	}
	fd, err := openTUN()
	if err == nil {
		link.maker = &tun{}
		return link, unix.Close(fd)
	}
	if n.cfg.Link == TUN {
		return nil, fmt.Errorf("%w: load the module tun and mount the device into the container, or use a dummy link", err)
	}
	if derr := probeDummy(name); derr != nil {
		return nil, fmt.Errorf("no kind of link works: %w; creating a dummy link: %w: load the module tun or dummy, and mount %s into the container", err, derr, tunDevice)
	}
	n.warnings = append(n.warnings, fmt.Sprintf("No %s (%v): using a dummy link; after a crash DNS falls back within %s instead of at once", tunDevice, err, n.cfg.Lease))
	return link, nil
}

// makeLink makes the link, without an address yet. A TUN link that another process keeps
// belongs to an instance that does not know of this one, and the rules with it: they stay.
func (n *Network) makeLink() error {
	_, err := n.link.Set(nil, n.cfg.Lease)
	if errors.Is(err, unix.EBUSY) {
		n.firewall, n.fallback = nil, nil // abandon leaves them alone
		err = fmt.Errorf("%w: a process holds it that is no instance of this version: end it first (ps -C nodelocaldns)", err)
	}
	return err
}

func probeDummy(name string) error {
	return errors.Join(dummy{}.make(name), dummy{}.destroy(name))
}

// clearLink removes a link of that name if it is a leftover: a dummy with our
// mark, or the reference's, which has none but carries our addresses only.
func clearLink(name string, addrs []netip.Addr) error {
	link, err := netlink.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for %s: %w", name, err)
	}
	foreign := fmt.Errorf("interface %s: a link of that name (type %s) is there and not ours: remove it (ip link delete %s) or choose another name", name, link.Type(), name)
	if link.Attrs().Alias == linkAlias && link.Type() == "tuntap" {
		return nil // of a predecessor that is just dying; creating ours waits for it
	}
	if link.Type() != "dummy" {
		return foreign
	}
	if link.Attrs().Alias != linkAlias {
		has, err := addresses(link)
		if err != nil {
			return fmt.Errorf("listing the addresses of %s: %w", name, err)
		}
		for _, a := range has {
			ip, _ := netip.AddrFromSlice(a.IP)
			if ip = ip.Unmap(); !ip.IsLinkLocalUnicast() && !slices.Contains(addrs, ip) {
				return foreign
			}
		}
	}
	if err := netlink.LinkDel(link); err != nil {
		return fmt.Errorf("removing the leftover link %s: %w", name, err)
	}
	return nil
}

// addresses lists those of a link, or of all. While other addresses come and go
// the kernel may say that the list is not of one moment: it is read again, and
// at last good enough.
func addresses(link netlink.Link) (list []netlink.Addr, err error) {
	for range 5 {
		list, err = netlink.AddrList(link, netlink.FAMILY_ALL)
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return list, err
		}
	}
	return list, nil
}

// checkAddresses refuses an address that another link than ours carries.
func (n *Network) checkAddresses(name string) error {
	all, err := addresses(nil)
	if err != nil {
		return fmt.Errorf("listing addresses: %w", err)
	}
	for _, has := range all {
		ip, _ := netip.AddrFromSlice(has.IP)
		if ip = ip.Unmap(); !slices.Contains(n.cfg.Addresses, ip) {
			continue
		}
		link, err := netlink.LinkByIndex(has.LinkIndex)
		if err != nil || link.Attrs().Alias == linkAlias || link.Attrs().Name == name {
			continue
		}
		return taken(ip, link.Attrs().Name)
	}
	return nil
}
