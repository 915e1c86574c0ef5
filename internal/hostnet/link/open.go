// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Open chooses the kind of link and checks that its name is free and that no other link carries one of addrs; it
// removes a leftover of that name, and creates nothing. A warning says that a kind was chosen that is second best.
func Open(kind, name string, addrs []netip.Addr) (l Link, warning string, err error) {
	if kind == None {
		return none{}, "", nil
	}
	if err := checkAddresses(name, addrs); err != nil {
		return nil, "", err
	}
	if err := clearLink(name, addrs); err != nil {
		return nil, "", err
	}
	made := &kernelLink{maker: dummy{}, name: name}
	if kind == Dummy {
		return made, "", nil
	}
	fd, err := openTUN()
	if err == nil {
		made.maker = &tun{}
		return made, "", unix.Close(fd)
	}
	if kind == TUN {
		return nil, "", fmt.Errorf("%w: load the module tun and mount the device into the container, or use a dummy link", err)
	}
	if derr := probeDummy(name); derr != nil {
		return nil, "", fmt.Errorf("no kind of link works: %w; creating a dummy link: %w: load the module tun or dummy, and mount %s into the container", err, derr, tunDevice)
	}
	return made, fmt.Sprintf("No %s (%v): using a dummy link", tunDevice, err), nil
}

func probeDummy(name string) error {
	return errors.Join(dummy{}.make(name), dummy{}.destroy(name))
}

// clearLink removes a link of that name if it is a leftover: a dummy link with our mark, or one of the reference,
// which has no mark and carries only our addresses.
func clearLink(name string, addrs []netip.Addr) error {
	link, err := netlink.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for %s: %w", name, err)
	}
	foreign := fmt.Errorf("interface %s: a link of that name (type %s) is there and not ours: remove it (ip link delete %s) or choose another name", name, link.Type(), name)
	if link.Attrs().Alias == alias && link.Type() == "tuntap" {
		return nil // of a predecessor that is just dying; creating ours waits for it
	}
	if link.Type() != "dummy" {
		return foreign
	}
	if link.Attrs().Alias != alias {
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

// addresses lists the addresses of a link, or of all links. While addresses come and go, the kernel may say that the
// list is not of one moment. addresses then reads it again, up to five times, and returns the last list.
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
func checkAddresses(name string, addrs []netip.Addr) error {
	all, err := addresses(nil)
	if err != nil {
		return fmt.Errorf("listing addresses: %w", err)
	}
	for _, has := range all {
		ip, _ := netip.AddrFromSlice(has.IP)
		if ip = ip.Unmap(); !slices.Contains(addrs, ip) {
			continue
		}
		link, err := netlink.LinkByIndex(has.LinkIndex)
		if err != nil || link.Attrs().Alias == alias || link.Attrs().Name == name {
			continue
		}
		return taken(ip, link.Attrs().Name)
	}
	return nil
}

// DummyAddresses returns the addresses of the dummy link of that name; none if there is no such link.
func DummyAddresses(name string) (addrs []netip.Addr, err error) {
	link, err := netlink.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) || err == nil && link.Type() != "dummy" {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for link %s: %w", name, err)
	}
	held, err := addresses(link)
	if err != nil {
		return nil, fmt.Errorf("listing the addresses of link %s: %w", name, err)
	}
	for _, a := range held {
		ip, _ := netip.AddrFromSlice(a.IP)
		addrs = append(addrs, ip.Unmap())
	}
	return addrs, nil
}

// RemoveLeftovers removes the dummy links with our mark that have one of names, and a dummy link without it whose
// name is reference.
func RemoveLeftovers(names []string, reference string) (removed []string, errs []error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, []error{fmt.Errorf("listing links: %w", err)}
	}
	for _, l := range links {
		name := l.Attrs().Name
		ours := l.Attrs().Alias == alias
		if l.Type() != "dummy" || !ours && name != reference || ours && !slices.Contains(names, name) {
			continue
		}
		if err := netlink.LinkDel(l); err != nil {
			errs = append(errs, fmt.Errorf("removing link %s: %w", name, err))
			continue
		}
		removed = append(removed, "link "+name)
	}
	return removed, errs
}

// IPVS is the name of the link to which kube-proxy in IPVS mode adds every ClusterIP.
const IPVS = "kube-ipvs0"

// taken says what to do about an address of the cache that is on another link.
func taken(addr netip.Addr, link string) error {
	if link == IPVS {
		return fmt.Errorf("address %s is on %s: kube-proxy runs in IPVS mode and answers for every ClusterIP itself: leave it out (-localip 169.254.20.10, or auto), and name 169.254.20.10 to the pods (clusterDNS of the kubelet)", addr, link)
	}
	return fmt.Errorf("address %s is already on %s: leave it out, or take it off there", addr, link)
}
