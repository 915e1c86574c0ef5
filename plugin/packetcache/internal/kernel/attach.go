// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// An attachment is the program at one interface. It goes with the interface, and with the process.
type attachment struct{ link link.Link }

func (a *attachment) close() error { return a.link.Close() }

// Attach attaches the program to an interface.
func (p *Program) Attach(ifindex int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.links[ifindex] != nil {
		return nil
	}
	l, err := link.AttachTCX(link.TCXOptions{Interface: ifindex, Program: p.objects.Answer, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return fmt.Errorf("attaching the BPF program to interface %d: %w", ifindex, err)
	}
	p.links[ifindex] = &attachment{l}
	return nil
}
