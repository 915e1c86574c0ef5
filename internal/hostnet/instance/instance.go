// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Instances on one node know of each other by UDP ports of loopback addresses.
// A port below 1024 is a name that only a privileged process can take: bind(2)
// asks for CAP_NET_BIND_SERVICE in the user namespace that owns the network
// namespace. The port belongs to the network namespace, as all else here does,
// and the kernel gives it back when the process ends. An abstract unix socket,
// which needs no privilege, could be taken by any process of the host's network.

// claimPort is unassigned (IANA), and below the range from which programs that
// want any privileged port are given one (bindresvport(3): from 512 on).
const claimPort = 60

// maxInstances bounds how many may run side by side; an update needs two.
const maxInstances = 4

// A name is an address of 127.0.0.0/8 whose claimPort an instance may hold.
type name [4]byte

// turnName is the right to change rules that instances share.
var turnName = name{127, 53, 0, 100}

// slotName is the number of an instance, from 0.
func slotName(slot int) name { return name{127, 53, 0, byte(1 + slot)} }

func (n name) at() netip.AddrPort { return netip.AddrPortFrom(netip.AddrFrom4(n), claimPort) }

// A claim is a name that this process holds.
type claim struct{ fd int }

// bind returns a socket that holds the name. One that looks only does not
// conflict with others that look.
func (n name) bind(look bool) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("opening a UDP socket: %w", err)
	}
	// Without a loopback link that is up there is no such address.
	err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_FREEBIND, 1)
	if err == nil && look {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Port: claimPort, Addr: n})
	}
	if err != nil {
		_ = unix.Close(fd) // unbound: closing it cannot lose anything
		return -1, fmt.Errorf("taking UDP port %s: %w", n.at(), err)
	}
	return fd, nil
}

// take returns nil without an error if somebody else holds the name.
func (n name) take() (*claim, error) {
	fd, err := n.bind(false)
	switch {
	case err == nil:
		return &claim{fd}, nil
	case errors.Is(err, unix.EADDRINUSE):
		return nil, nil
	case errors.Is(err, unix.EACCES):
		err = fmt.Errorf("%w: CAP_NET_BIND_SERVICE is missing: run as root, or add NET_BIND_SERVICE to the container's capabilities", err)
	}
	return nil, err
}

// isTaken reports whether somebody holds the name. It returns true, too, if it
// cannot find out: the rules are left alone then.
func (n name) isTaken() bool {
	fd, err := n.bind(true)
	if err == nil {
		_ = unix.Close(fd) // it held nothing for anybody
	}
	return err != nil
}

func (c *claim) release() {
	if c != nil {
		_ = unix.Close(c.fd) // the name goes in any case
	}
}

// takeSlot returns the lowest free number of an instance.
func takeSlot() (int, *claim, error) {
	for slot := range maxInstances {
		if c, err := takePatiently(slotName(slot)); c != nil || err != nil {
			return slot, c, err
		}
	}
	return 0, nil, fmt.Errorf("the names of all %d instances that may run in this network namespace are taken: %s", maxInstances, holders(peerNames(-1)))
}

// takePatiently takes a name that others look at: such a look holds the name
// for some microseconds.
func takePatiently(n name) (c *claim, err error) {
	for range 5 {
		if c, err = n.take(); c != nil || err != nil {
			return c, err
		}
		time.Sleep(time.Millisecond)
	}
	return nil, nil
}

// peers returns the number of other live instances.
func peers(own int) int { return len(peerNames(own)) }

func peerNames(own int) (names []name) {
	for slot := range maxInstances {
		if slot != own && slotName(slot).isTaken() {
			names = append(names, slotName(slot))
		}
	}
	return names
}

// Peers says who the other instances on this node are.
func (n *Network) Peers() string { return holders(peerNames(n.slot)) }

func holders(names []name) string {
	var who []string
	for _, n := range names {
		who = append(who, n.holder())
	}
	return strings.Join(who, "; ")
}

// takeTurn claims the right to change rules that instances share. Who leaves
// holds it until its sockets are closed, so that nobody steers to them again.
// Nobody looks at this name.
func takeTurn() (*claim, error) { return turnName.take() }

// TurnHolder says who holds the right to change the rules that instances share.
func TurnHolder() string { return turnName.holder() }

func (n name) holder() string {
	return cmp.Or(Holder("udp", n.at()), fmt.Sprintf("nobody holds udp %s any more", n.at()))
}
