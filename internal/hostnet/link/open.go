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
	if derr := errors.Join(made.make(name), made.destroy(name)); derr != nil {
		return nil, "", fmt.Errorf("no kind of link works: %w; creating a dummy link: %w: load the module tun or dummy, and mount %s into the container", err, derr, tunDevice)
	}
	return made, fmt.Sprintf("No %s (%v): using a dummy link", tunDevice, err), nil
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
			return err
		}
		for _, a := range has {
			if !a.ip.IsLinkLocalUnicast() && !slices.Contains(addrs, a.ip) {
				return foreign
			}
		}
	}
	if err := netlink.LinkDel(link); err != nil {
		return fmt.Errorf("removing the leftover link %s: %w", name, err)
	}
	return nil
}

// An address is one that a link carries.
type address struct {
	ip   netip.Addr
	link int // its index
}

// addresses lists the addresses of a link, or of all links if link is nil. A list that is not of one moment is good enough.
func addresses(link netlink.Link) (list []address, err error) {
	all, err := Uninterrupted(func() ([]netlink.Addr, error) { return netlink.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		whose := "all links"
		if link != nil {
			whose = link.Attrs().Name
		}
		return nil, fmt.Errorf("listing the addresses of %s: %w", whose, err)
	}
	for _, a := range all {
		ip, _ := netip.AddrFromSlice(a.IP)
		list = append(list, address{ip.Unmap(), a.LinkIndex})
	}
	return list, nil
}

// Uninterrupted reads a list of the kernel's. While links, addresses or routes come and go the kernel may say that a list is not
// of one moment. Uninterrupted then reads it again, up to five times, and returns the last list with netlink.ErrDumpInterrupted.
func Uninterrupted[T any](list func() ([]T, error)) (all []T, err error) {
	for range 5 {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}

// checkAddresses refuses an address that another link than ours carries.
func checkAddresses(name string, addrs []netip.Addr) error {
	all, err := addresses(nil)
	for _, has := range all {
		if !slices.Contains(addrs, has.ip) {
			continue
		}
		link, err := netlink.LinkByIndex(has.link)
		if err == nil && link.Attrs().Alias != alias && link.Attrs().Name != name {
			return taken(has.ip, link.Attrs().Name)
		}
	}
	return err
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
	for _, a := range held {
		addrs = append(addrs, a.ip)
	}
	return addrs, err
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
