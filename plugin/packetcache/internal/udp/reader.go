// SPDX-License-Identifier: Apache-2.0

package udp

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/store"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wire"
)

const (
	// batch is the largest number of packets that one call reads, and of answers that one call writes.
	batch = 32
	// backlog is the number of full batches in a row after which a reader asks for help. A burst of fewer batches is over before
	// another reader has woken, and to wake that reader takes a tenth of the CPU time of 64 hits. The socket has room for the
	// packets of a backlog also without CAP_NET_ADMIN.
	backlog = 4
	// MaxQuery is how much of a packet is read, in octets: a query with padding (RFC 7830) and large options. The stock server
	// reads 512.
	MaxQuery = 4096
	// maxWaiting is larger than the number of packets that fit into the socket: the room is twice receiveBuffer, and the
	// smallest packet takes 768 octets (include/linux/skbuff.h, SKB_TRUESIZE).
	maxWaiting = 2 * receiveBuffer / 768
	// pause is the time that a reader waits after an error that may last.
	pause = 10 * time.Millisecond
)

// mmsghdr is the kernel's structure of that name (include/linux/socket.h).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// A Query is a packet that the store does not answer.
type Query struct {
	Packet []byte
	Key    []byte         // wire.ParseQuery's; nil: the packet is of an unusual form
	Old    *store.Entry   // an answer that is no longer fresh; nil: none
	Sender netip.AddrPort // its zone is a number: the zone's name would need a call to the kernel
}

// A reader reads the socket of a listener and answers from the store.
type reader struct {
	l     *listener
	spare bool // reads only when the first reader needs help

	in, out     [batch]mmsghdr
	inVec       [batch]unix.Iovec
	outVec      [batch]unix.Iovec
	names       [batch]unix.RawSockaddrInet6 // room for that of either family
	control     [batch][controlLen]byte      // where the packet came in, if the socket tells
	queries     [batch][MaxQuery]byte
	answers     [batch][wire.MaxAnswer]byte
	hits        [batch]*store.Entry // of the answers; nil: from no entry
	key         [wire.MaxKey]byte
	query       Query // the one that Backend.Miss has
	n, answered int
	full        int // batches in a row, up to now, that were full
	sample      sample
	warned      unix.Errno
}

func newReader(l *listener, spare bool) *reader {
	r := &reader{l: l, spare: spare}
	for i := range batch {
		r.inVec[i].Base = &r.queries[i][0]
		r.inVec[i].SetLen(MaxQuery)
		r.in[i].hdr.Iov = &r.inVec[i]
		r.in[i].hdr.Name, r.in[i].hdr.Namelen = (*byte)(unsafe.Pointer(&r.names[i])), unix.SizeofSockaddrInet6
		r.in[i].hdr.SetIovlen(1)
		r.in[i].hdr.Control = &r.control[i][0]
		r.in[i].hdr.SetControllen(controlLen)
		r.outVec[i].Base = &r.answers[i][0]
		r.out[i].hdr.Iov = &r.outVec[i]
		r.out[i].hdr.SetIovlen(1)
	}
	return r
}

// run reads until the listener closes, and then reads the packets that are left.
func (r *reader) run() {
	for r.spare {
		select {
		case <-r.l.more:
			r.drain(maxWaiting)
		case <-r.l.closing:
			return
		}
	}
	_ = r.l.conn.Read(r.serve) // until Withdraw wakes it
	r.drain(maxWaiting)
}

// serve answers until there is nothing to read. It returns false to wait for more packets, and true when the listener closes.
func (r *reader) serve(fd uintptr) bool {
	for {
		switch errno := r.receive(fd); errno {
		case 0:
			r.answer()
		case unix.EAGAIN:
			return false
		default:
			if errno != r.warned { // once for a fault that lasts
				r.l.of.warnf("Reading queries at %s: %v", r.l.addr, errno)
			}
			r.warned = errno
			select {
			case <-r.l.closing:
			case <-time.After(pause):
			}
		}
		select {
		case <-r.l.closing:
			return true
		default:
		}
	}
}

// drain answers packets that have arrived, about most of them at most, and does not wait for more. Without the bound drain
// would not end while packets arrive as fast as it answers.
func (r *reader) drain(most int) {
	for ; most > 0 && r.receive(r.l.fd) == 0; most -= r.n {
		r.answer()
	}
}

// receive reads packets that have arrived, at most batch. It hides the system call from Go's scheduler, since the call never waits.
func (r *reader) receive(fd uintptr) unix.Errno {
	for i := range r.n {
		r.in[i].hdr.Namelen = unix.SizeofSockaddrInet6
		r.in[i].hdr.SetControllen(controlLen)
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.in[0])), batch, unix.MSG_DONTWAIT, 0, 0)
	if r.n = int(n); errno != 0 {
		r.n, r.full = 0, 0
		return errno
	}
	if r.n < batch {
		r.full = 0
		return 0
	}
	if r.full++; r.full >= backlog { // more may wait: another reader can help
		select {
		case r.l.more <- struct{}{}:
		default:
		}
	}
	return 0
}

// answer answers the packets that were read.
func (r *reader) answer() {
	r.l.swap.RLock()
	defer r.l.swap.RUnlock()
	b, now := r.l.lease.backend, Clock()
	st := b.Store()
	r.answered = 0
	r.sample.begin(now)
	for i := range r.n {
		query, out := r.queries[i][:r.in[i].len], r.answers[r.answered][:]
		var e *store.Entry
		key, usual := wire.ParseQuery(query, r.key[:0])
		if usual {
			e = st.Get(key)
			if ifindex := r.ifindex(i); ifindex != 0 {
				b.Came(r.sender(i).Addr(), ifindex)
			}
		}
		var n int
		if e != nil && e.Fresh(now) {
			n = e.Replay(out, query, now)
			r.sample.hit(i, e)
		} else {
			r.query = Query{Packet: query, Key: key, Old: e, Sender: r.sender(i)}
			n, e = b.Miss(&r.query, out)
		}
		if n > 0 {
			r.outVec[r.answered].SetLen(n)
			to := &r.out[r.answered].hdr
			to.Name, to.Namelen = r.in[i].hdr.Name, r.in[i].hdr.Namelen
			r.hits[r.answered] = e
			r.answered++
		}
	}
	if r.answered > 0 {
		unsent := r.answered - r.send()
		b.Sent(r.hits[:r.answered], unsent, Clock()-now)
		clear(r.hits[:r.answered])
	}
	r.count(start.Add(now))
}

// send sends the answers, and returns the number that the kernel took. It does not wait for room: a few readers answer all
// clients, and an attacker can fill the room with answers to hosts that do not exist.
func (r *reader) send() (sent int) {
	for next := 0; next < r.answered; {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, r.l.fd, uintptr(unsafe.Pointer(&r.out[next])), uintptr(r.answered-next), unix.MSG_DONTWAIT, 0, 0)
		switch {
		case errno == unix.EAGAIN: // no room, for none of them
			return sent
		case errno != 0:
			next++ // this answer cannot be sent; nobody but its client loses
		default:
			next += int(n)
			sent += int(n)
		}
	}
	return sent
}

// client returns the address of the sender of the i-th packet, without its zone.
func (r *reader) client(i int) netip.Addr {
	name := &r.names[i]
	if name.Family == unix.AF_INET {
		return netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(name)).Addr)
	}
	return netip.AddrFrom16(name.Addr)
}

// sender returns the sender of the i-th packet.
func (r *reader) sender(i int) netip.AddrPort {
	name, addr := &r.names[i], r.client(i)
	if addr.Is6() && name.Scope_id != 0 {
		addr = addr.WithZone(strconv.Itoa(int(name.Scope_id)))
	}
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&name.Port))[:]))
}
