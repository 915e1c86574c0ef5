// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"encoding/binary"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// maxRefused bounds the clients in one filter. The memory of a filter counts towards net.core.optmem_max, which was 20,480
// octets before Linux 6.7. Further clients are let in, and lose what is beyond their share at the next look.
const maxRefused = 128

// skfNetOff is where the IP header begins (SKF_NET_OFF, include/uapi/linux/filter.h). The rest counts from the TCP header on:
// the kernel shows a filter of a TCP socket a packet without the IP header (net/ipv4/tcp_ipv4.c, tcp_filter).
const skfNetOff = 1<<32 - 0x100000

// tcpFlags is the octet of the TCP header with SYN (2) and ACK (16).
const tcpFlags = 13

// refuseFilter is a program for a listening socket that drops what begins a connection from one of the clients. The sockets
// that accept returns inherit the program, where it does nothing.
func refuseFilter(clients []netip.Addr) []unix.SockFilter {
	drop4, drop6 := []unix.SockFilter{load(unix.BPF_W, skfNetOff+12)}, []unix.SockFilter{}
	for word := range uint32(4) {
		drop6 = append(drop6, load(unix.BPF_W, skfNetOff+8+4*word), instruction(unix.BPF_ST, word))
	}
	for _, c := range clients[:min(len(clients), maxRefused)] {
		if c.Is4() {
			drop4 = append(drop4, dropIf(c)...)
		} else {
			drop6 = append(drop6, dropIf(c)...)
		}
	}
	drop4, drop6 = append(drop4, pass), append(drop6, pass)
	program := []unix.SockFilter{
		load(unix.BPF_B, tcpFlags), instruction(unix.BPF_ALU|unix.BPF_AND, 0x12), equal(0x02, 1, 0), pass,
		load(unix.BPF_B, skfNetOff), instruction(unix.BPF_ALU|unix.BPF_AND, 0xf0), equal(0x40, 1, 0),
		instruction(unix.BPF_JMP|unix.BPF_JA, uint32(len(drop4))), // an IPv6 header
	}
	return slices.Concat(program, drop4, drop6)
}

// dropIf drops the packet if its source, which is loaded for IPv4 and stored for IPv6, is a client.
func dropIf(client netip.Addr) (program []unix.SockFilter) {
	b := client.AsSlice()
	if client.Is4() {
		return []unix.SockFilter{equal(binary.BigEndian.Uint32(b), 0, 1), drop}
	}
	for word := range uint32(4) {
		program = append(program, instruction(unix.BPF_LD|unix.BPF_MEM, word), equal(binary.BigEndian.Uint32(b[4*word:]), 0, uint8(7-2*word)))
	}
	return append(program, drop)
}

var (
	drop = instruction(unix.BPF_RET, 0)
	pass = instruction(unix.BPF_RET, 1<<32-1)
)

func instruction(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }

func load(size uint16, at uint32) unix.SockFilter {
	return instruction(unix.BPF_LD|unix.BPF_ABS|size, at)
}

// equal skips then instructions if the loaded word is value, and otherwise instructions if not.
func equal(value uint32, then, otherwise uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ, K: value, Jt: then, Jf: otherwise}
}

// refuse has a listening socket drop what begins a connection from one of the clients. Without clients the socket drops nothing.
func refuse(fd int, clients []netip.Addr) error {
	if len(clients) == 0 {
		err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
		return os.NewSyscallError("setsockopt SO_DETACH_FILTER", ignore(err, unix.ENOENT))
	}
	filter := refuseFilter(clients)
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return os.NewSyscallError("setsockopt SO_ATTACH_FILTER", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program))
}
