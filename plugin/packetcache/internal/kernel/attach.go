// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// An attachment is the program at one interface. It goes with the interface, and with the process.
type attachment struct {
	link      link.Link    // nil: the program is not attached there
	why       string       // it is not
	reviewed  time.Time    // when last
	force     bool         // what was wanted then
	of        netlink.Link // nil: the interface has gone
	addresses []netip.Addr // of the interface, when last looked at
	looked    time.Time
}

func (a *attachment) attached() bool { return a != nil && a.link != nil }

// has reports whether the interface has an address. What it says may be a second old.
func (a *attachment) has(addr netip.Addr) bool {
	if a == nil || a.of == nil {
		return false
	}
	if time.Since(a.looked) > time.Second {
		a.looked = time.Now()
		a.addresses, _ = addressesOf(a.of) // on an error it has none
	}
	return slices.Contains(a.addresses, addr)
}

// dead reports whether the interface has gone: the kernel detaches the program then.
func (a *attachment) dead() bool {
	if !a.attached() {
		_, err := netlink.LinkByIndex(a.of.Attrs().Index)
		return err != nil
	}
	info, err := a.link.Info()
	return err != nil || info.TCX() == nil || info.TCX().Ifindex == 0
}

func (a *attachment) close() error {
	if !a.attached() {
		return nil
	}
	return a.link.Close()
}

// minMTU is the least MTU of an interface at which every answer of the program fits into one packet.
const minMTU = 48 + 12 + maxName + 4 + maxAnswer

const (
	// reviewTime is how long what review has found holds.
	reviewTime = time.Second
	// refusedTime is how much longer it holds that the program must not be at an interface: attaching and detaching make the kernel wait,
	// with a lock that all changes of the network need, and others may come and go.
	refusedTime = 30 * time.Second
)

// errNotKnown says that the kernel could not be asked.
var errNotKnown = errors.New("asking for the BPF programs there")

// attach attaches the program to an interface, if the interface fits.
func attach(program *ebpf.Program, ifindex uint32, force bool, logf func(string, ...any)) *attachment {
	l, err := netlink.LinkByIndex(int(ifindex))
	if err != nil {
		return new(attachment) // it has gone
	}
	a := &attachment{of: l}
	a.review(program, force, logf)
	return a
}

// review attaches the program to an interface that fits, and detaches it from one that does not fit any more: others may have
// attached their programs later. It says why the program is not there, unless nothing comes in by that interface.
func (a *attachment) review(program *ebpf.Program, force bool, logf func(string, ...any)) {
	if a.of == nil || force == a.force && time.Since(a.reviewed) < reviewTime {
		return
	}
	a.reviewed, a.force = time.Now(), force
	l, err := netlink.LinkByIndex(a.of.Attrs().Index)
	if err != nil {
		return // it has gone
	}
	why := ""
	if err = fits(l, force); errors.Is(err, errNotKnown) && a.attached() {
		return
	} else if err == nil && !a.attached() {
		a.link, err = attachTo(l, program)
	}
	if err != nil {
		a.reviewed = a.reviewed.Add(refusedTime)
		_ = a.close() // the program is detached in any case
		a.link, why = nil, err.Error()
	}
	if why != "" && why != a.why && l.Type() != "tuntap" && l.Type() != "dummy" {
		logf("Queries by %s are answered by the process alone: %s", l.Attrs().Name, why)
	}
	a.why = why
}

// addressesOf returns the addresses of an interface.
func addressesOf(l netlink.Link) (addrs []netip.Addr, err error) {
	all, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	for _, a := range all {
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			addrs = append(addrs, ip.Unmap())
		}
	}
	return addrs, err
}

// fits returns an error if the program must not be at an interface.
func fits(l netlink.Link, force bool) error {
	if kind := l.Attrs().EncapType; kind != "ether" && kind != "loopback" {
		return fmt.Errorf("its packets have no Ethernet header (%s)", kind)
	}
	if l.Attrs().MTU < minMTU {
		return fmt.Errorf("its MTU is %d, less than %d", l.Attrs().MTU, minMTU)
	}
	others, err := othersAt(l)
	if err != nil {
		return err
	}
	if len(others) > 0 && !force {
		return fmt.Errorf("it has BPF programs of others: %s (`kernel force` answers before programs of tc see the query)", strings.Join(others, ", "))
	}
	return nil
}

// attachTo attaches the program behind all programs that see what comes in.
func attachTo(l netlink.Link, program *ebpf.Program) (link.Link, error) {
	at, err := link.AttachTCX(link.TCXOptions{Interface: l.Attrs().Index, Program: program, Attach: ebpf.AttachTCXIngress, Anchor: link.Tail()})
	if err != nil {
		return nil, fmt.Errorf("attaching the BPF program: %w", err)
	}
	return at, nil
}

// othersAt returns the names of the programs that see what comes in by an interface.
func othersAt(l netlink.Link) (names []string, err error) {
	at, err := link.QueryPrograms(link.QueryOptions{Target: l.Attrs().Index, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotKnown, err)
	}
	for _, p := range at.Programs {
		if !isClaimed(p.ID) { // another instance's may answer, too
			names = append(names, "tcx "+nameOf(p.ID))
		}
	}
	filters, err := netlink.FilterList(l, netlink.HANDLE_MIN_INGRESS)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("%w (filters of tc): %w", errNotKnown, err)
	}
	for _, f := range filters {
		name := f.Type()
		if bpf, ok := f.(*netlink.BpfFilter); ok {
			name = bpf.Name
		}
		names = append(names, "tc "+name)
	}
	return names, nil
}

// nameOf returns the name of a program, or its ID if the process may not ask for the name.
func nameOf(id ebpf.ProgramID) string {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return fmt.Sprintf("program %d", id)
	}
	defer p.Close()
	if info, err := p.Info(); err == nil && info.Name != "" {
		return info.Name
	}
	return fmt.Sprintf("program %d", id)
}
