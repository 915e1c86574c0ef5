// SPDX-License-Identifier: Apache-2.0

package sockets

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/prometheus/procfs"

	"github.com/nodelocaldns/nodelocaldns/internal/words"
)

// tcpListen is TCP_LISTEN of include/net/tcp_states.h.
const tcpListen = 10

// A Socket is one line of /proc/net/udp or /proc/net/tcp.
type Socket struct {
	Local netip.AddrPort
	Bound bool   // hears whoever sends: it has no peer, and one of TCP listens
	Queue uint64 // bytes that wait, unread
	uid   uint64 // of the user who made it, as this user namespace sees it
	inode uint64
}

// Holder says which process keeps others from listening at an address: it has a socket of network, "udp" or "tcp",
// there or at that port of all addresses. The text may begin or end a sentence of an error or the log. It is empty if
// no process has such a socket. This process is named only if there is no other.
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
		if owner := s.Owner(); !slices.Contains(who, owner) {
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

// Of returns the address that a listener at addr has; without an IP address that of all addresses.
func Of(addr *net.TCPAddr) netip.AddrPort {
	ip, ok := netip.AddrFromSlice(addr.IP)
	if !ok {
		ip = netip.IPv6Unspecified()
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(addr.Port))
}

// Listens reports whether this process listens for TCP connections at an address, or at that port of all addresses. Where /proc
// does not say so, the answer is yes.
func Listens(at netip.AddrPort) bool {
	all, err := List("tcp")
	if err != nil {
		return true
	}
	own := map[string]bool{}
	fds, _ := filepath.Glob("/proc/self/fd/*") // those of /proc/self/fd itself are gone by now
	for _, fd := range fds {
		if link, err := os.Readlink(fd); err == nil {
			own[link] = true
		}
	}
	return slices.ContainsFunc(all, func(s Socket) bool {
		here := s.Local.Addr() == at.Addr() || s.Local.Addr().IsUnspecified()
		return s.Bound && here && s.Local.Port() == at.Port() && own[fmt.Sprintf("socket:[%d]", s.inode)]
	})
}

// Owner names the process that has s. Processes of other containers cannot be seen without the host's process
// namespace; the user always can.
func (s Socket) Owner() string {
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
		return fmt.Sprintf("pid %s (%s), user %d", pid, words.Printable(strings.TrimSpace(string(comm))), s.uid)
	}
	return fmt.Sprintf("a process of user %d that cannot be seen from here (on the node: ss -antup | grep :%d)", s.uid, s.Local.Port())
}

// List returns the sockets of network, "udp" or "tcp", in this network namespace, of both families.
func List(network string) ([]Socket, error) {
	lines, err := list(network)
	if err != nil {
		return nil, fmt.Errorf("listing sockets: %w", err)
	}
	var out []Socket
	for _, l := range lines {
		ip, _ := netip.AddrFromSlice(l.LocalAddr)
		out = append(out, Socket{
			Local: netip.AddrPortFrom(ip.Unmap(), uint16(l.LocalPort)),
			Bound: l.RemPort == 0 && (network == "udp" || l.St == tcpListen),
			Queue: l.RxQueue, uid: l.UID, inode: l.Inode,
		})
	}
	return out, nil
}

// list leaves out IPv6 on a kernel without it.
func list(network string) (procfs.NetIPSocket, error) {
	fs, err := procfs.NewFS("/proc/thread-self")
	if err != nil {
		return nil, err
	}
	if network == "tcp" {
		v4, err := fs.NetTCP() //lint:ignore SA1019 what is to take its place needs a module of the kernel's, tcp_diag
		v6, _ := fs.NetTCP6()  //lint:ignore SA1019 as above
		return append(procfs.NetIPSocket(v4), v6...), err
	}
	v4, err := fs.NetUDP()
	v6, _ := fs.NetUDP6()
	return append(procfs.NetIPSocket(v4), v6...), err
}
