// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
)

// The sockets with SO_REUSEPORT at one address are a group: the kernel gives a
// packet to one of them, by a hash, or by a program of the group that returns a
// place in it (net/core/sock_reuseport.c). A place that is not there means the
// hash again. Sockets are in the order in which they were bound, but the last
// one takes the place of one that is closed.
//
// Alone, this process has two there: the stock server's and ours, which the
// program returns. While another process has sockets in the group nobody knows
// the order, and the hash is right: each socket is served.

// nodelocal's self-queries always go by the hash. Another process that joins the
// group, which may know nothing of this plugin, is ready only when it has heard
// of an answer of its own; and alone, they try both sockets.

// nowhere is a place that is not there.
const nowhere = 1<<31 - 1

// attachPlace makes the group of fd give every packet to one place, except the
// self-queries. From nowhere they go by the hash again; to take the program away
// needs Linux 5.3.
func attachPlace(fd, place int) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: skfADMark},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: hostnet.SelfQueryMark, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: nowhere},
		{Code: unix.BPF_RET | unix.BPF_K, K: uint32(place)},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return os.NewSyscallError("setsockopt SO_ATTACH_REUSEPORT_CBPF", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &prog))
}

// skfADMark is SKF_AD_OFF + SKF_AD_MARK: the packet's mark (include/uapi/linux/filter.h).
const skfADMark = 1<<32 - 0x1000 + 20

// members counts the UDP sockets that are bound to addr in this network namespace.
func members(addr netip.AddrPort) (int, error) {
	file := "/proc/net/udp"
	if addr.Addr().Is6() {
		file = "/proc/net/udp6"
	}
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	want, n := procAddr(addr), 0
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 1 && fields[1] == want {
			n++
		}
	}
	return n, lines.Err()
}

// procAddr is addr as /proc/net/udp prints it: words of 32 bits in the host's
// byte order, and the port.
func procAddr(addr netip.AddrPort) string {
	var b strings.Builder
	for raw := addr.Addr().AsSlice(); len(raw) > 0; raw = raw[4:] {
		fmt.Fprintf(&b, "%08X", binary.NativeEndian.Uint32(raw))
	}
	return fmt.Sprintf("%s:%04X", b.String(), addr.Port())
}
