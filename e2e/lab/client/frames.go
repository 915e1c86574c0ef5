// SPDX-License-Identifier: Apache-2.0

package client

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

// Frames are whole Ethernet frames, which a pod with CAP_NET_RAW can send and see at its interface.
type Frames struct {
	MAC  net.HardwareAddr // of the interface
	file *os.File
	buf  []byte
}

// A Frame is one that came in.
type Frame struct {
	Data  []byte // from the Ethernet header on; valid until the next call of Receive
	Local bool   // a socket of this machine made it: the device that it never came to would have filled in the UDP checksum
}

// OpenFrames opens an interface of a namespace, until the end of the test.
func OpenFrames(t testing.TB, n *netns.Namespace, device string) *Frames {
	t.Helper()
	link, err := n.Netlink.LinkByName(device)
	if err != nil {
		t.Fatalf("looking up %s in %s: %v", device, n.Name, err)
	}
	var fd int
	const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8 // in network order
	err = n.Run(func() (err error) {
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		for _, o := range []struct{ level, name, value int }{
			{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16 << 20}, {unix.SOL_PACKET, unix.PACKET_AUXDATA, 1}, {unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1},
		} {
			if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
				return fmt.Errorf("setting option %d: %w", o.name, err)
			}
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all & 0xffff, Ifindex: link.Attrs().Index})
	})
	if err != nil {
		t.Fatalf("opening %s in %s: %v", device, n.Name, err)
	}
	f := &Frames{MAC: link.Attrs().HardwareAddr, file: os.NewFile(uintptr(fd), device), buf: make([]byte, 1<<16)}
	t.Cleanup(func() { f.file.Close() })
	return f
}

// Send sends a frame.
func (f *Frames) Send(frame []byte) error {
	_, err := f.file.Write(frame)
	return err
}

// Receive returns the next frame that comes in, or an error at the deadline.
func (f *Frames) Receive(deadline time.Time) (frame Frame, err error) {
	if err := f.file.SetReadDeadline(deadline); err != nil {
		return frame, err
	}
	conn, err := f.file.SyscallConn()
	if err != nil {
		return frame, err
	}
	control := make([]byte, 128)
	var got error
	err = conn.Read(func(fd uintptr) bool {
		n, m, _, _, errno := unix.Recvmsg(int(fd), f.buf, control, 0)
		if errno == unix.EAGAIN {
			return false
		}
		got = errno
		frame = Frame{Data: f.buf[:max(n, 0)], Local: incomplete(control[:max(m, 0)])}
		return true
	})
	if err == nil {
		err = got
	}
	return frame, err
}

// incomplete reads from the data that come with a frame whether its checksum is to be filled in.
func incomplete(control []byte) bool {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return false
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA {
			return binary.NativeEndian.Uint32(m.Data)&unix.TP_STATUS_CSUMNOTREADY != 0
		}
	}
	return false
}

// Datagram makes a frame with a UDP packet.
func Datagram(fromMAC, toMAC net.HardwareAddr, from, to netip.AddrPort, message []byte) []byte {
	udp := binary.BigEndian.AppendUint16(nil, from.Port())
	udp = binary.BigEndian.AppendUint16(udp, to.Port())
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(message)))
	udp = append(append(udp, 0, 0), message...)
	b := append(append([]byte{}, toMAC...), fromMAC...)
	if from.Addr().Is4() {
		b = append(b, 8, 0, 0x45, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(20+len(udp)))
		b = append(b, 0x12, 0x34, 0, 0, 64, unix.IPPROTO_UDP, 0, 0)
	} else {
		b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(len(udp)))
		b = append(b, unix.IPPROTO_UDP, 64)
	}
	b = append(append(b, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	return Sum(append(b, udp...))
}

// Sum fills in the checksums of a frame with a UDP packet, of IPv4 with options or without, or of IPv6. It returns the frame.
func Sum(b []byte) []byte {
	ip := b[14:]
	udp := ip[headerOf(ip):]
	if ip[0]>>4 == 4 {
		SumIP(b)
	}
	udp[6], udp[7] = 0, 0
	binary.BigEndian.PutUint16(udp[6:], checksum(ip))
	return b
}

// SumIP fills in the checksum of the header of IPv4. It returns the frame.
func SumIP(b []byte) []byte {
	ip := b[14:]
	ip[10], ip[11] = 0, 0
	binary.BigEndian.PutUint16(ip[10:], ^folded(ip[:headerOf(ip)]))
	return b
}

// checksum is that of a UDP packet whose own is zero.
func checksum(ip []byte) uint16 {
	if sum := ^folded(pseudo(ip), ip[headerOf(ip):]); sum != 0 {
		return sum
	}
	return 0xffff
}

// Message returns the port that a UDP packet in a frame goes to, and its message. err says what is wrong with the packet.
func (f Frame) Message() (port uint16, message []byte, err error) {
	if len(f.Data) < 14+20+8 {
		return 0, nil, fmt.Errorf("%d octets", len(f.Data))
	}
	ip := f.Data[14:]
	head := headerOf(ip)
	udp := ip[head:]
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if length < 8 || length > len(udp) {
		return 0, nil, fmt.Errorf("UDP length %d of %d octets", length, len(udp))
	}
	udp = udp[:length]
	switch {
	case ip[0]>>4 == 4 && folded(ip[:head]) != 0xffff:
		err = fmt.Errorf("bad checksum of the IP header % x", ip[:head])
	case f.Local: // no device has filled it in
	case udp[6]|udp[7] == 0 && ip[0]>>4 == 4: // none
	case folded(pseudo(ip), udp) != 0xffff:
		err = fmt.Errorf("bad UDP checksum in % x", f.Data)
	}
	return binary.BigEndian.Uint16(udp[2:]), udp[8:], err
}

// IsDNS reports whether the frame has a UDP packet from port 53.
func (f Frame) IsDNS() bool {
	if len(f.Data) < 14+20+8 {
		return false
	}
	ip := f.Data[14:]
	head := headerOf(ip)
	protocol := ip[9]
	if head == 40 {
		protocol = ip[6]
	}
	kind := binary.BigEndian.Uint16(f.Data[12:])
	return (kind == unix.ETH_P_IP || kind == unix.ETH_P_IPV6) && protocol == unix.IPPROTO_UDP && len(ip) >= head+8 && binary.BigEndian.Uint16(ip[head:]) == 53
}

func headerOf(ip []byte) int {
	if ip[0]>>4 == 6 {
		return 40
	}
	return int(ip[0]&0x0f) * 4
}

// pseudo is the pseudo-header of a UDP packet.
func pseudo(ip []byte) []byte {
	head := headerOf(ip)
	addresses := ip[8:40:40]
	if ip[0]>>4 == 4 {
		addresses = ip[12:20:20]
	}
	return append(append([]byte{}, addresses...), 0, unix.IPPROTO_UDP, ip[head+4], ip[head+5])
}

// folded is the sum of RFC 1071. The parts but the last have an even length.
func folded(parts ...[]byte) uint16 {
	var sum uint32
	for _, part := range parts {
		for ; len(part) > 1; part = part[2:] {
			sum += uint32(binary.BigEndian.Uint16(part))
		}
		if len(part) > 0 {
			sum += uint32(part[0]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
