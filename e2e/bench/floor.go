// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

// floorServer is no DNS cache, only the least that one could do: it finds a stored answer by the bytes of the question. What
// it costs is what the kernel's UDP sockets cost.
type floorServer struct {
	answers  map[string][]byte
	upstream net.Conn
}

func floor(args []string) error {
	flags := flag.NewFlagSet("floor", flag.ExitOnError)
	listen := flags.String("listen", "", "`ADDRESS`")
	upstream := flags.String("upstream", "", "`ADDRESS` to learn the answers from")
	_ = flags.Parse(args) // exits
	addr, err := netip.ParseAddrPort(*listen)
	if err != nil {
		return err
	}
	s := &floorServer{answers: map[string][]byte{}}
	if s.upstream, err = net.Dial("udp", *upstream); err != nil {
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
	return s.serve(fd)
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
	answer, ok := s.answers[string(packet[2:size])]
	if !ok {
		answer = s.learn(packet[:size])
	}
	return 2 + copy(packet[2:], answer) // behind the ID
}

// learn asks the upstream server; everybody waits.
func (s *floorServer) learn(query []byte) []byte {
	answer := make([]byte, packetSize)
	err := s.upstream.SetDeadline(time.Now().Add(time.Second))
	if err == nil {
		_, err = s.upstream.Write(query)
	}
	n := 0
	if err == nil {
		n, err = s.upstream.Read(answer)
	}
	if err != nil || n < 12 {
		return nil
	}
	s.answers[string(query[2:])] = answer[2:n:n]
	return answer[2:n]
}
