// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/retry"
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
		} else {
			removed = append(removed, "link "+name)
		}
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

// tunDevice is where the kernel makes TUN links.
const tunDevice = "/dev/net/tun"

// busyWait bounds the wait for the link of a predecessor that is just dying.
const busyWait = 2 * time.Second

// tun is a link that lives as long as this process. When the file descriptor closes, for whatever reason, the kernel
// deletes the link with its addresses and routes. Nothing is ever read from the descriptor: packets to the addresses
// are delivered locally, through the loopback device.
type tun struct{ fd int }

func (t *tun) kind() string { return TUN }

func (t *tun) make(name string) error {
	fd, err := openTUN()
	if err != nil {
		return err
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	retry.Until(busyWait, 20*time.Millisecond, func() bool {
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
		return !errors.Is(err, unix.EBUSY)
	})
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	t.fd = last(fd)
	return nil
}

// last gives the descriptor a number above those of the servers' sockets. The kernel closes the descriptors of a
// dying process in ascending order, and runs the work that it put off in descending order (task_work_run). So the
// link goes before the sockets. A query that arrives in between is lost, and a resolver tries it again. In the other
// order the query would be refused, and so would the second try.
func last(fd int) int {
	const beyond = 1000
	moved, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, beyond)
	if err != nil {
		return fd // a limit on open files: it works as well, if not as nicely
	}
	_ = unix.Close(fd) // the other one holds the link
	return moved
}

func (t *tun) destroy(string) error { return unix.Close(t.fd) }

// openTUN opens the device; its children must not keep the link alive.
func openTUN() (int, error) {
	fd, err := openDevice(tunDevice)
	if errors.Is(err, unix.ENOENT) {
		if own, ownErr := openOwnDevice(); ownErr == nil {
			fd, err = own, nil
		}
	}
	if err != nil {
		return -1, fmt.Errorf("opening %s: %w", tunDevice, err)
	}
	// A container may have an ordinary file there, from a mount gone wrong.
	if _, err := unix.IoctlGetUint32(fd, unix.TUNGETFEATURES); err != nil {
		return -1, errors.Join(fmt.Errorf("%s is no TUN device: %w", tunDevice, err), unix.Close(fd))
	}
	return fd, nil
}

func openDevice(path string) (int, error) {
	return unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
}

// openOwnDevice makes the device's file for a moment. It is for a container that lacks the file but has CAP_MKNOD,
// which is among the default capabilities. The number is that of Documentation/networking/tuntap.rst; container
// runtimes allow it.
func openOwnDevice() (int, error) {
	path := fmt.Sprintf("/dev/nodelocaldns-tun-%d", unix.Getpid())
	if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(10, 200))); err != nil {
		return -1, err
	}
	fd, err := openDevice(path)
	if rmErr := unix.Unlink(path); rmErr != nil && err == nil {
		return -1, errors.Join(rmErr, unix.Close(fd))
	}
	return fd, err
}

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

// HasTUN returns why this process could not make a TUN link; nil: it could. It makes none.
func HasTUN() error {
	fd, err := openTUN()
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// Ours reports whether a link with that alias (ip link shows it) was made by an instance of this program.
func Ours(mark string) bool { return mark == alias }
