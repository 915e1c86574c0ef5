// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// A claim tells other instances of the cache that a BPF program is one of ours. Two instances run at a time in an update with surge. The
// claim is an abstract Unix socket, in the network namespace of the interfaces. Its name has the ID of the program. The kernel tells
// which user listens there, and the user must be the other instance's own.
//
// The name of the BPF program is no claim: the kernel tells that name only to processes with CAP_SYS_ADMIN.
type claim struct {
	id       ebpf.ProgramID
	listener *net.UnixListener // nil: somebody else has the name, so other instances take the program for a foreign one
}

// claimed is the name of the claim of a BPF program.
func claimed(id ebpf.ProgramID) *net.UnixAddr {
	return &net.UnixAddr{Net: "unixpacket", Name: fmt.Sprintf("@nodelocaldns-bpf-%d", id)}
}

// claimOf claims a program. The claim ends with Close, or with the process.
func claimOf(p *ebpf.Program) (*claim, error) {
	info, err := p.Info()
	if err != nil {
		return nil, fmt.Errorf("asking for the BPF program's ID: %w", err)
	}
	id, ok := info.ID()
	if !ok {
		return nil, errors.New("asking for the BPF program's ID: the kernel does not tell it")
	}
	c := &claim{id: id}
	c.listener, err = net.ListenUnix("unixpacket", claimed(id))
	if errors.Is(err, unix.EADDRINUSE) {
		return c, nil
	} else if err != nil {
		return nil, fmt.Errorf("claiming the BPF program: %w", err)
	}
	go c.accept()
	return c, nil
}

// accept closes what connects: a connection has said all that there is to say.
func (c *claim) accept() {
	for {
		conn, err := c.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		} else if err == nil {
			_ = conn.Close() // nothing was written
		}
	}
}

// Close gives the claim up.
func (c *claim) Close() error {
	if c.listener == nil {
		return nil
	}
	return c.listener.Close()
}

// isClaimed reports whether a program is of another instance of this process's user.
func isClaimed(id ebpf.ProgramID) bool {
	conn, err := net.DialUnix("unixpacket", nil, claimed(id))
	if err != nil {
		return false
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	return user(raw) == os.Geteuid()
}

// user returns the effective user of the process that listens at the other end; -1: the kernel does not tell.
func user(conn syscall.RawConn) int {
	uid := -1
	_ = conn.Control(func(fd uintptr) { // uid says whether it could be asked
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			uid = int(cred.Uid)
		}
	})
	return uid
}
