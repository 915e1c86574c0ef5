// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"encoding/binary"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// maxRefused bounds the clients in one filter. A share is at least a 128th of all connections, so there are hardly more that hold
// theirs; and what a filter takes counts towards net.core.optmem_max, which was 20,480 octets before Linux 6.7.
const maxRefused = 128

// skfNetOff is where the IP header begins (SKF_NET_OFF, include/uapi/linux/filter.h). The rest counts from the TCP header on:
// the kernel shows a filter of a TCP socket a packet without the IP header (net/ipv4/tcp_ipv4.c, tcp_filter).
const skfNetOff = 1<<32 - 0x100000

// tcpFlags is the octet of the TCP header with SYN (2) and ACK (16).
const tcpFlags = 13

// refuseFilter is a program for a listening socket that drops what begins a connection from one of the clients. The sockets
// that accept returns inherit the program, where it does nothing.
func refuseFilter(clients []netip.Addr) []unix.SockFilter {
	load := func(size uint16, at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | size | unix.BPF_ABS, K: at}
	}
	note := func(place uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_ST, K: place} }
	noted := func(place uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_MEM, K: place}
	}
	and := func(mask uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask}
	}
	unless := func(value uint32, skip uint8) unix.SockFilter { // skips instructions if the value is another
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jf: skip}
	}
	ret := func(octets uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: octets}
	}
	drop, pass := ret(0), ret(1<<32-1)
	var four, six []unix.SockFilter
	for _, c := range clients[:min(len(clients), maxRefused)] {
		b := c.AsSlice()
		if c.Is4() {
			four = append(four, unless(binary.BigEndian.Uint32(b), 1), drop)
			continue
		}
		six = append(six, noted(0), unless(binary.BigEndian.Uint32(b), 3), noted(1), unless(binary.BigEndian.Uint32(b[4:]), 1), drop)
	}
	four = append(append([]unix.SockFilter{load(unix.BPF_W, skfNetOff+12)}, four...), pass)
	six = append(append([]unix.SockFilter{load(unix.BPF_W, skfNetOff+8), note(0), load(unix.BPF_W, skfNetOff+12), note(1)}, six...), pass)
	program := []unix.SockFilter{
		load(unix.BPF_B, tcpFlags), and(0x12), {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0x02, Jt: 1}, pass,
		load(unix.BPF_B, skfNetOff), and(0xf0), {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0x40, Jt: 1},
		{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(len(four))}, // an IPv6 header
	}
	return append(append(program, four...), six...)
}

// refuse has a listening socket drop what begins a connection from one of the clients; without clients it drops nothing.
func refuse(fd int, clients []netip.Addr) error {
	if len(clients) == 0 {
		err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
		return os.NewSyscallError("setsockopt SO_DETACH_FILTER", ignore(err, unix.ENOENT))
	}
	filter := refuseFilter(clients)
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return os.NewSyscallError("setsockopt SO_ATTACH_FILTER", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program))
}
