// SPDX-License-Identifier: Apache-2.0

// Package instance has the instances on one node know of each other: each takes a number, and one at a time the right
// to change the rules that they share.
package instance

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/sockets"
)

// Instances on one node know of each other by UDP ports of loopback addresses. A port below 1024 is a name that only
// a privileged process can take: bind(2) asks for CAP_NET_BIND_SERVICE in the user namespace that owns the network
// namespace. The port belongs to the network namespace, as all else here does, and the kernel gives it back when the
// process ends. An abstract unix socket, which needs no privilege, could be taken by any process of the host's
// network.

// claimPort is unassigned (IANA), and below the range from which programs that want any privileged port are given one
// (bindresvport(3): from 512 on).
const claimPort = 60

// Max bounds how many may run side by side; an update needs two.
const Max = 4

// A name is an address of 127.0.0.0/8 whose claimPort an instance may hold.
type name [4]byte

// turnName is the right to change rules that instances share.
var turnName = name{127, 53, 0, 100}

// slotName is the number of an instance, from 0.
func slotName(slot int) name { return name{127, 53, 0, byte(1 + slot)} }

func (n name) at() netip.AddrPort { return netip.AddrPortFrom(netip.AddrFrom4(n), claimPort) }

// A Claim is a name that this process holds.
type Claim struct{ fd int }

// bind returns a socket that holds the name. A socket that only looks does not conflict with other looks.
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
func (n name) take() (*Claim, error) {
	fd, err := n.bind(false)
	switch {
	case err == nil:
		return &Claim{fd}, nil
	case errors.Is(err, unix.EADDRINUSE):
		return nil, nil
	case errors.Is(err, unix.EACCES):
		err = fmt.Errorf("%w: CAP_NET_BIND_SERVICE is missing: run as root, or add NET_BIND_SERVICE to the container's capabilities", err)
	}
	return nil, err
}

// isTaken reports whether somebody holds the name. If that cannot be found out it returns true, so that the caller
// leaves the rules alone.
func (n name) isTaken() bool {
	fd, err := n.bind(true)
	if err == nil {
		_ = unix.Close(fd) // it held nothing for anybody
	}
	return err != nil
}

// Release gives the name back. A nil Claim has none.
func (c *Claim) Release() {
	if c != nil {
		_ = unix.Close(c.fd) // the name goes in any case
	}
}

// TakeSlot returns the lowest free number of an instance.
func TakeSlot() (int, *Claim, error) {
	for slot := range Max {
		for range 5 { // others look at the name, and a look holds it for some microseconds
			if c, err := slotName(slot).take(); c != nil || err != nil {
				return slot, c, err
			}
			time.Sleep(time.Millisecond)
		}
	}
	return 0, nil, fmt.Errorf("the names of all %d instances that may run in this network namespace are taken: %s", Max, PeerHolders(-1))
}

// Peers returns the number of live instances but for the one whose number is own; -1: but for none.
func Peers(own int) int { return len(peerNames(own)) }

func peerNames(own int) (names []name) {
	for slot := range Max {
		if slot != own && slotName(slot).isTaken() {
			names = append(names, slotName(slot))
		}
	}
	return names
}

// PeerHolders says which processes the other instances are.
func PeerHolders(own int) string {
	var who []string
	for _, n := range peerNames(own) {
		who = append(who, n.holder())
	}
	return strings.Join(who, "; ")
}

// Holders says which processes hold a number of an instance. Unlike Peers it needs no privilege and takes no name.
func Holders() (who []string) {
	for slot := range Max {
		if h := sockets.Holder("udp", slotName(slot).at()); h != "" {
			who = append(who, h)
		}
	}
	return who
}

// TakeTurn takes the right to change rules that instances share; nil without an error if another instance has it. An
// instance that leaves keeps the turn until its sockets are closed, so that nobody steers to them again. Nobody looks
// at this name.
func TakeTurn() (*Claim, error) { return turnName.take() }

// TurnHolder says who holds the right to change the rules that instances share.
func TurnHolder() string { return turnName.holder() }

func (n name) holder() string {
	return cmp.Or(sockets.Holder("udp", n.at()), fmt.Sprintf("nobody holds udp %s any more", n.at()))
}
