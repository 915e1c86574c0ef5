// SPDX-License-Identifier: Apache-2.0

// Package mirror sends DNS queries back as answers from a BPF program. The program looks nothing up: a program that answers at
// an interface can cost no less.
package mirror

import (
	"fmt"
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
)

// Attach has the queries that come in by an interface sent back, until the process ends. It needs tcx (Linux 6.6), and is for
// IPv4 without options.
func Attach(name string) error {
	at, err := net.InterfaceByName(name)
	if err != nil {
		return fmt.Errorf("finding the interface: %w", err)
	}
	_ = rlimit.RemoveMemlock() // newer kernels need no such limit, and older ones have no tcx
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "mirror", Type: ebpf.SchedCLS, License: "Apache-2.0", Instructions: program()})
	if err != nil {
		return fmt.Errorf("loading the program: %w", err)
	}
	_, err = link.AttachTCX(link.TCXOptions{Interface: at.Index, Program: program, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return fmt.Errorf("attaching the program to %s: %w", name, err)
	}
	return nil
}

// Offsets in struct __sk_buff (include/uapi/linux/bpf.h).
const (
	ifindex = 40
	data    = 76
	dataEnd = 80
)

// Offsets in a packet with an Ethernet and an IPv4 header.
const (
	etherType   = 12
	ipVersion   = 14 // and the header's length
	ipProtocol  = 23
	source      = 26
	destination = 30
	sourcePort  = 34
	destPort    = 36
	checksum    = 40
	flags       = 44 // of DNS
	answers     = 48 // how many
	queryEnd    = 54 // of the header
)

// Values as the host, which is little-endian, reads them from a packet.
const (
	ipv4    = 0x0008
	port53  = 0x3500
	success = 0x8081 // an answer, recursion desired and available
	one     = 0x0100
)

// program exchanges sources and destinations, and makes the header one of an answer with one record. The UDP checksum is left
// out (RFC 768).
func program() asm.Instructions {
	const pass = "pass"
	packet, end, tmp, other := asm.R7, asm.R8, asm.R2, asm.R3
	code := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(packet, asm.R6, data, asm.Word),
		asm.LoadMem(end, asm.R6, dataEnd, asm.Word),
		asm.Mov.Reg(tmp, packet),
		asm.Add.Imm(tmp, queryEnd),
		asm.JGT.Reg(tmp, end, pass),
	}
	for _, want := range []struct {
		at    int16
		size  asm.Size
		value int32
	}{{etherType, asm.Half, ipv4}, {ipVersion, asm.Byte, 0x45}, {ipProtocol, asm.Byte, 17}, {destPort, asm.Half, port53}} {
		code = append(code, asm.LoadMem(tmp, packet, want.at, want.size), asm.JNE.Imm(tmp, want.value, pass))
	}
	for _, pair := range []struct {
		a, b int16
		size asm.Size
	}{{0, 6, asm.Word}, {4, 10, asm.Half}, {source, destination, asm.Word}, {sourcePort, destPort, asm.Half}} {
		code = append(code,
			asm.LoadMem(tmp, packet, pair.a, pair.size), asm.LoadMem(other, packet, pair.b, pair.size),
			asm.StoreMem(packet, pair.a, other, pair.size), asm.StoreMem(packet, pair.b, tmp, pair.size))
	}
	return append(code,
		asm.StoreImm(packet, checksum, 0, asm.Half),
		asm.StoreImm(packet, flags, success, asm.Half),
		asm.StoreImm(packet, answers, one, asm.Half),
		asm.LoadMem(asm.R1, asm.R6, ifindex, asm.Word),
		asm.Mov.Imm(asm.R2, 0), // out of the interface
		asm.FnRedirect.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, -1).WithSymbol(pass), // TCX_NEXT
		asm.Return(),
	)
}
