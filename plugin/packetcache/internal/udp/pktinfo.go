// SPDX-License-Identifier: Apache-2.0

package udp

import (
	"encoding/binary"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// controlLen is the room for one control message of either family, in octets: IP_PKTINFO or IPV6_PKTINFO.
const controlLen = unix.SizeofCmsghdr + unix.SizeofInet6Pktinfo + 4 // a multiple of 8

// tellInterfaces makes the kernel tell, with each packet, by which interface the packet came in, or not.
func tellInterfaces(conn syscall.RawConn, v6, tell bool) error {
	on := 0
	if tell {
		on = 1
	}
	return control(conn, func(fd int) error {
		if v6 {
			return os.NewSyscallError("setsockopt IPV6_RECVPKTINFO", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, on))
		}
		return os.NewSyscallError("setsockopt IP_PKTINFO", unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, on))
	})
}

// ifindex returns the index of the interface by which the i-th packet came in. It returns 0 if the socket does not tell.
func (r *reader) ifindex(i int) uint32 {
	if r.in[i].hdr.Controllen < unix.SizeofCmsghdr {
		return 0
	}
	h, data := (*unix.Cmsghdr)(unsafe.Pointer(&r.control[i])), r.control[i][unix.SizeofCmsghdr:]
	switch {
	case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO:
		return binary.NativeEndian.Uint32(data)
	case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO:
		return binary.NativeEndian.Uint32(data[16:])
	}
	return 0
}
