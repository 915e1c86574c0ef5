// SPDX-License-Identifier: Apache-2.0

package sockets

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// tcpListen is TCP_LISTEN of include/net/tcp_states.h.
const tcpListen = 10

// A socket is one line of /proc/net/udp or /proc/net/tcp.
type Socket struct {
	Local netip.AddrPort
	Bound bool   // hears whoever sends: it has no peer, and one of TCP listens
	state uint64 // TCP_LISTEN and so on
	Queue uint64 // bytes that wait, unread
	uid   uint64 // of the user who made it, as this user namespace sees it
	inode uint64
}

// Holder says who keeps others from listening at an address: which process has a socket of network, "udp" or "tcp",
// there or at that port of all addresses. It is text for an error or the log, and may begin a sentence or end one;
// empty if nobody has. This process itself is named only if there is no other.
func Holder(network string, at netip.AddrPort) string {
	all, err := List(network)
	if err != nil {
		return fmt.Sprintf("who holds %s %s cannot be found out: %v", network, at, err)
	}
	var who []string
	for _, s := range all {
		here := s.Local.Addr() == at.Addr() || s.Local.Addr().IsUnspecified() || at.Addr().IsUnspecified()
		if !s.Bound || s.Local.Port() != at.Port() || !here {
			continue
		}
		if owner := s.owner(); !slices.Contains(who, owner) {
			who = append(who, owner)
		}
	}
	if len(who) > 1 {
		who = slices.DeleteFunc(who, func(owner string) bool { return strings.HasPrefix(owner, fmt.Sprintf("pid %d ", os.Getpid())) })
	}
	if len(who) == 0 {
		return ""
	}
	return fmt.Sprintf("%s %s is held by %s", network, at, strings.Join(who, " and "))
}

// owner names the process that has s. Processes of other containers cannot be seen without the host's process
// namespace; the user always can.
func (s Socket) owner() string {
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*") // no process at all is an answer, too
	for _, fd := range fds {
		if link, err := os.Readlink(fd); err != nil || link != fmt.Sprintf("socket:[%d]", s.inode) {
			continue
		}
		pid := strings.Split(fd, "/")[2]
		comm, err := os.ReadFile("/proc/" + pid + "/comm")
		if err != nil {
			continue // it ended meanwhile
		}
		return fmt.Sprintf("pid %s (%s), user %d", pid, strings.TrimSpace(string(comm)), s.uid)
	}
	return fmt.Sprintf("a process of user %d that cannot be seen from here (on the node: ss -antup | grep :%d)", s.uid, s.Local.Port())
}

// List returns the sockets of network in this network namespace, of both families. Their files have the same columns
// (get_udp4_sock of net/ipv4/udp.c, get_tcp4_sock of net/ipv4/tcp_ipv4.c).
func List(network string) ([]Socket, error) {
	var out []Socket
	for _, family := range []string{"", "6"} {
		text, err := os.ReadFile("/proc/thread-self/net/" + network + family)
		if err != nil && family == "" {
			return nil, fmt.Errorf("listing sockets: %w", err)
		}
		for line := range strings.Lines(string(text)) { // none on a kernel without IPv6
			if s, ok := parseSocket(strings.Fields(line)); ok {
				s.Bound = s.Bound && (network == "udp" || s.state == tcpListen)
				out = append(out, s)
			}
		}
	}
	return out, nil
}

// parseSocket reads the columns of one line; the headings are no socket.
func parseSocket(f []string) (s Socket, ok bool) {
	if len(f) < 10 {
		return s, false
	}
	local, err := parseEnd(f[1])
	remote, rerr := parseEnd(f[2])
	if err != nil || rerr != nil {
		return s, false
	}
	_, queue, _ := strings.Cut(f[4], ":")
	s.Local, s.Bound = local, remote.Port() == 0
	errs := []error{
		number(f[3], 16, &s.state), number(queue, 16, &s.Queue),
		number(f[7], 10, &s.uid), number(f[9], 10, &s.inode),
	}
	return s, errors.Join(errs...) == nil
}

// parseEnd reads ADDRESS:PORT. The address is in words of 32 bits, each a number in the machine's order of what
// stands in memory in the network's.
func parseEnd(text string) (netip.AddrPort, error) {
	addr, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(addr)
	if err != nil || len(raw) != 4 && len(raw) != 16 {
		return netip.AddrPort{}, fmt.Errorf("%q is no address", addr)
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	n, err := strconv.ParseUint(port, 16, 16)
	ip, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(ip.Unmap(), uint16(n)), err
}

func number(text string, base int, to *uint64) (err error) {
	*to, err = strconv.ParseUint(text, base, 64)
	return err
}
