// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"
	"unsafe"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/e2e/bench/loads"
	"github.com/nodelocaldns/nodelocaldns/e2e/bench/mirror"
)

// floorServer is no DNS cache, only the least that a DNS cache could do: it finds a stored answer by the bytes of the question.
// Nearly all of its CPU time is the kernel's, in the UDP socket.
type floorServer struct{ answers map[string][]byte }

// floor runs the floorServer. Its argument is the address.
func floor(args []string) error {
	addr, err := listenAddress(args)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening a socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}); err != nil {
		return fmt.Errorf("binding to %s: %w", addr, err)
	}
	debug.SetGCPercent(-1) // it would wait for the goroutine that is in a system call unknown to it
	return (&floorServer{map[string][]byte{}}).serve(fd)
}

// reflect is the least that a server could do that answers at an interface. Its argument is the interface.
func reflect(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%d arguments, want an interface", len(args))
	}
	if err := mirror.Attach(args[0]); err != nil {
		return err
	}
	return unix.Pause() // until it is killed
}

func listenAddress(args []string) (netip.AddrPort, error) {
	if len(args) != 1 {
		return netip.AddrPort{}, fmt.Errorf("%d arguments, want an address", len(args))
	}
	return netip.ParseAddrPort(args[0])
}

func (s *floorServer) serve(fd int) error {
	b := newBatch(false)
	for {
		n, err := b.receive(fd, 0)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("receiving: %w", err)
		}
		for i := range n {
			b.resize(i, s.reply(&b.data[i], len(b.packet(i))))
		}
		if err := b.send(fd, n); err != nil {
			return err
		}
	}
}

// reply turns a query into its answer, in place.
func (s *floorServer) reply(packet *[packetSize]byte, size int) int {
	stored, ok := s.answers[string(packet[2:size])]
	if !ok {
		stored = s.store(packet[:size])
	}
	return 2 + copy(packet[2:], stored) // behind the ID
}

// store makes the answer that the upstream server would give.
func (s *floorServer) store(query []byte) []byte {
	var r dns.Msg
	if r.Unpack(query) != nil || len(r.Question) != 1 {
		return nil
	}
	packed, err := loads.Answer(&r).Pack()
	if err != nil {
		return nil
	}
	s.answers[string(query[2:])] = packed[2:]
	return packed[2:]
}

const (
	batchSize  = 64
	packetSize = 1232 // larger than every answer of every load
)

// message is the kernel's struct mmsghdr (include/linux/socket.h), which golang.org/x/sys does not have.
type message struct {
	unix.Msghdr
	length uint32
}

// batch has the packets that one recvmmsg or sendmmsg moves. A batch must not be copied, as it holds pointers to itself.
type batch struct {
	messages [batchSize]message
	vectors  [batchSize]unix.Iovec
	peers    [batchSize]unix.RawSockaddrInet4
	data     [batchSize][packetSize]byte
	dirty    int // number of messages whose lengths the last call changed
}

// newBatch makes a batch for a connected socket, or for a socket with many peers.
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
	n, err := b.call(unix.SYS_RECVMMSG, fd, 0, batchSize, flags|unix.MSG_WAITFORONE)
	b.dirty = n
	return n, err
}

// packet is the i-th packet that was received.
func (b *batch) packet(i int) []byte { return b.data[i][:b.messages[i].length] }

// resize sets the length of the i-th packet that is to be sent.
func (b *batch) resize(i, size int) { b.vectors[i].SetLen(size) }

// send sends the first n packets.
func (b *batch) send(fd, n int) error {
	for sent := 0; sent < n; {
		k, err := b.call(unix.SYS_SENDMMSG, fd, sent, n-sent, 0)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("sending %d packets: %w", n-sent, err)
		}
		sent += k
	}
	return nil
}

// call does not tell Go's scheduler that it waits. No other goroutine is to run in these programs, and the scheduler's work (its
// monitor wakes up, the goroutine changes threads) would be measured, too. golang.org/x/net's ReadBatch tells it.
func (b *batch) call(trap uintptr, fd, first, n, flags int) (int, error) {
	k, _, errno := unix.RawSyscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(&b.messages[first])), uintptr(n), uintptr(flags), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(k), nil
}
