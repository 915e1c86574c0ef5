// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	batchSize  = 64
	packetSize = 1232 // of no answer in any load
)

// message is struct mmsghdr.
type message struct {
	unix.Msghdr
	length uint32
}

// batch is what one recvmmsg or sendmmsg moves. It has to stay where it is, as it holds pointers to itself.
type batch struct {
	messages [batchSize]message
	vectors  [batchSize]unix.Iovec
	peers    [batchSize]unix.RawSockaddrInet4
	data     [batchSize][packetSize]byte
	dirty    int // messages whose lengths the last call changed
}

// newBatch makes a batch for a connected socket, or for one that has many peers.
func newBatch(connected bool) *batch {
	b := &batch{dirty: batchSize}
	for i := range b.messages {
		b.vectors[i].Base = &b.data[i][0]
		b.messages[i].Iov = &b.vectors[i]
		b.messages[i].SetIovlen(1)
		if !connected {
			b.messages[i].Name = (*byte)(unsafe.Pointer(&b.peers[i]))
		}
	}
	return b
}

// receive waits for a packet, unless the flags say not to, takes as many as there are, and returns their number.
func (b *batch) receive(fd, flags int) (int, error) {
	for i := range b.dirty {
		b.vectors[i].SetLen(packetSize)
		if b.messages[i].Name != nil {
			b.messages[i].Namelen = unix.SizeofSockaddrInet4
		}
	}
	n, err := b.call(unix.SYS_RECVMMSG, fd, batchSize, flags|unix.MSG_WAITFORONE)
	b.dirty = n
	return n, err
}

// packet is what was received.
func (b *batch) packet(i int) []byte { return b.data[i][:b.messages[i].length] }

// resize sets how much of a packet is sent.
func (b *batch) resize(i, size int) { b.vectors[i].SetLen(size) }

// send sends the first n packets.
func (b *batch) send(fd, n int) error {
	for sent := 0; sent < n; {
		k, err := b.callFrom(unix.SYS_SENDMMSG, fd, sent, n-sent, 0)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("sending %d packets: %w", n-sent, err)
		}
		sent += k
	}
	return nil
}

func (b *batch) call(trap uintptr, fd, n, flags int) (int, error) {
	return b.callFrom(trap, fd, 0, n, flags)
}

// callFrom does not tell Go's scheduler of the wait: nothing else is to run in these programs, and what the scheduler
// would do about it (its monitor wakes up, the goroutine changes hands) would be measured, too.
func (b *batch) callFrom(trap uintptr, fd, first, n, flags int) (int, error) {
	k, _, errno := unix.RawSyscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(&b.messages[first])), uintptr(n), uintptr(flags), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(k), nil
}
