// SPDX-License-Identifier: Apache-2.0

package xtables

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
)

// A legacyWatch compares the sizes and hooks of the two tables, as the kernel's old interface tells them
// (IPT_SO_GET_INFO).
type legacyWatch struct {
	fam  family.Family
	info [2]tableInfo
}

// tableInfo is struct ipt_getinfo of linux/netfilter_ipv4/ip_tables.h, and ip6t_getinfo.
type tableInfo struct {
	name       [32]byte
	validHooks uint32
	hookEntry  [5]uint32
	underflow  [5]uint32
	entries    uint32
	size       uint32
}

func (w *legacyWatch) Record() (err error) {
	w.info, err = w.read()
	return err
}

func (w *legacyWatch) Intact() (bool, error) {
	info, err := w.read()
	return info == w.info, err
}

func (w *legacyWatch) read() (info [2]tableInfo, err error) {
	domain, level := unix.AF_INET, unix.SOL_IP
	if w.fam == family.IPv6 {
		domain, level = unix.AF_INET6, unix.SOL_IPV6
	}
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return info, fmt.Errorf("opening a socket: %w", err)
	}
	defer unix.Close(fd)
	const getInfo = 64 // IPT_SO_GET_INFO, IP6T_SO_GET_INFO
	for i, table := range []string{"raw", "filter"} {
		copy(info[i].name[:], table)
		size := uint32(unsafe.Sizeof(info[i]))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), getInfo,
			uintptr(unsafe.Pointer(&info[i])), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 {
			return info, fmt.Errorf("asking the kernel for iptables table %s: %w", table, errno)
		}
	}
	return info, nil
}
