// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"net"

	"github.com/cilium/ebpf"
)

// A claim tells other instances of this program, as in an update with surge, that a BPF program is one of ours: it is a name of an
// abstract Unix socket in the network namespace of the interfaces. The name of the BPF program would say so, too, but the kernel
// gives a program by its ID only to processes with CAP_SYS_ADMIN.
type claim = net.UnixConn

// claimed is the name of the claim of a BPF program.
func claimed(id ebpf.ProgramID) *net.UnixAddr {
	return &net.UnixAddr{Net: "unixgram", Name: fmt.Sprintf("@nodelocaldns-bpf-%d", id)}
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
	c, err := net.ListenUnixgram("unixgram", claimed(id))
	if err != nil {
		return nil, fmt.Errorf("claiming the BPF program: %w", err)
	}
	return c, nil
}

// isClaimed reports whether a program is of this process or of another instance.
func isClaimed(id ebpf.ProgramID) bool {
	c, err := net.DialUnix("unixgram", nil, claimed(id))
	if err != nil {
		return false
	}
	c.Close()
	return true
}
