// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/words"
)

// newGeneration is the type of the message that ends each transaction's notifications.
const newGeneration = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWGEN

// groupNFTables is NFNLGRP_NFTABLES of include/uapi/linux/netfilter/nfnetlink.h.
const groupNFTables = 7

// Changes tells which processes changed nf_tables in this network namespace. The kernel queues one short message for each
// transaction, whose number of bytes is bounded, and nothing is done until somebody asks. A nil Changes knows of none.
type Changes struct {
	fd   int
	seen []change // oldest first
}

// maxSeen is the largest number of changes that are remembered.
const maxSeen = 64

// NewChanges begins to note changes. It needs CAP_NET_ADMIN.
func NewChanges() (*Changes, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("watching who changes nf_tables: %w", err)
	}
	c := &Changes{fd: fd}
	// The filter comes first: nothing else is queued then. It compares the type, which is in the order of this machine, while a
	// filter reads in network order.
	kind := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, newGeneration))
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 4}, // nlmsg_type
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: uint32(kind)},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (groupNFTables - 1)})
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("watching who changes nf_tables: %w", err)
	}
	return c, nil
}

// Close ends the watch.
func (c *Changes) Close() {
	if c != nil {
		_ = unix.Close(c.fd)
	}
}

// A change says who made one transaction.
type change struct {
	pid  uint32 // in the host's process namespace
	name string // of the process's thread: 15 bytes at most
}

// Seen reads what the kernel has queued, and returns how many changes are remembered.
func (c *Changes) Seen() int {
	if c == nil {
		return 0
	}
	c.seen = append(c.seen, c.take()...)
	c.seen = c.seen[max(0, len(c.seen)-maxSeen):]
	return len(c.seen)
}

// Forget forgets the n oldest changes.
func (c *Changes) Forget(n int) {
	if n > 0 {
		c.seen = c.seen[min(n, len(c.seen)):]
	}
}

// By returns the processes that made the changes that are remembered or queued, as "nft (pid 4711)", with " and " between them, and
// forgets the changes. It leaves out processes of the name of this one. It returns "" if it knows of no other.
func (c *Changes) By() string {
	if c.Seen() == 0 {
		return ""
	}
	own, _ := os.ReadFile("/proc/thread-self/comm")
	var who []string
	for _, ch := range c.seen {
		text := fmt.Sprintf("%s (pid %d)", words.Printable(ch.name), ch.pid)
		if ch.name != strings.TrimSpace(string(own)) && !slices.Contains(who, text) {
			who = append(who, text)
		}
	}
	c.seen = nil
	if more := len(who) - maxNamed; more > 0 {
		who = append(who[:maxNamed], fmt.Sprintf("%d others", more))
	}
	return strings.Join(who, " and ")
}

// maxNamed is the largest number of processes that a line names.
const maxNamed = 3

// take reads what the kernel has queued.
func (c *Changes) take() (all []change) {
	buf := make([]byte, 4096)
	for {
		n, _, err := unix.Recvfrom(c.fd, buf, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENOBUFS): // with ENOBUFS newer messages were lost: what is there is read
			continue
		case err != nil || n < unix.NLMSG_HDRLEN+header:
			return all // EAGAIN: there are no more
		}
		ad, err := netlink.NewAttributeDecoder(buf[unix.NLMSG_HDRLEN+header : n])
		if err != nil {
			continue
		}
		ad.ByteOrder = binary.BigEndian
		var ch change
		for ad.Next() {
			switch ad.Type() {
			case unix.NFTA_GEN_PROC_PID:
				ch.pid = ad.Uint32()
			case unix.NFTA_GEN_PROC_NAME:
				ch.name = ad.String()
			}
		}
		if ad.Err() == nil && ch.name != "" {
			all = append(all, ch)
		}
	}
}
