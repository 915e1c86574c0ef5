// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"time"
	"unsafe"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/shares"
)

const (
	// batch is how many packets are read, and how many answers written, in one call.
	batch = 32
	// maxQuery is how much of a packet is read, in octets: a query with padding (RFC 7830) and large options. The stock server
	// reads 512.
	maxQuery = 4096
	// maxWaiting is more than the packets that the socket has room for: twice receiveBuffer, and 768 octets for the smallest
	// one (include/linux/skbuff.h, SKB_TRUESIZE).
	maxWaiting = 2 * receiveBuffer / 768
	// pause is how long a reader waits after an error that may last.
	pause = 10 * time.Millisecond
)

// mmsghdr is the kernel's structure of that name (include/linux/socket.h).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// A reader reads the listener's socket and answers what is known.
type reader struct {
	l     *listener
	spare bool // waits until one more is needed

	in, out     [batch]mmsghdr
	inVec       [batch]unix.Iovec
	outVec      [batch]unix.Iovec
	names       [batch]unix.RawSockaddrInet6 // room for that of either family
	queries     [batch][maxQuery]byte
	answers     [batch][maxAnswer]byte
	hits        [batch]*entry // of the answers; nil: none of the store
	key         [maxKey]byte
	n, answered int
	warned      unix.Errno
}

func newReader(l *listener, spare bool) *reader {
	r := &reader{l: l, spare: spare}
	for i := range batch {
		r.inVec[i].Base = &r.queries[i][0]
		r.inVec[i].SetLen(maxQuery)
		r.in[i].hdr.Iov = &r.inVec[i]
		r.in[i].hdr.Name, r.in[i].hdr.Namelen = (*byte)(unsafe.Pointer(&r.names[i])), unix.SizeofSockaddrInet6
		r.in[i].hdr.SetIovlen(1)
		r.outVec[i].Base = &r.answers[i][0]
		r.out[i].hdr.Iov = &r.outVec[i]
		r.out[i].hdr.SetIovlen(1)
	}
	return r
}

// run reads until the listener closes, and then what is still there.
func (r *reader) run() {
	for r.spare {
		select {
		case <-r.l.more:
			r.drain(maxWaiting)
		case <-r.l.closing:
			return
		}
	}
	_ = r.l.conn.Read(r.serve) // until release wakes it
	r.drain(maxWaiting)
}

// serve answers until there is nothing to read, and returns false to wait for
// more, true when the listener closes.
func (r *reader) serve(fd uintptr) bool {
	for {
		switch errno := r.receive(fd); errno {
		case 0:
			r.answer()
		case unix.EAGAIN:
			return false
		default:
			if errno != r.warned { // once for a fault that lasts
				log.Warningf("Reading queries at %s: %v", r.l.addr, errno)
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

// drain answers the packets that have arrived, about most of them at most, and does not wait for more. Without the bound it
// would not end while packets come as fast as it answers them.
func (r *reader) drain(most int) {
	for ; most > 0 && r.receive(r.l.fd) == 0; most -= r.n {
		r.answer()
	}
}

// receive reads what is there. It does not tell Go's scheduler of the system
// call, as it does not wait.
func (r *reader) receive(fd uintptr) unix.Errno {
	for i := range r.n {
		r.in[i].hdr.Namelen = unix.SizeofSockaddrInet6
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.in[0])), batch, unix.MSG_DONTWAIT, 0, 0)
	if r.n = int(n); errno != 0 {
		r.n = 0
		return errno
	}
	r.wakeMore()
	return 0
}

// wakeMore lets another reader help when more came than one can take at once.
func (r *reader) wakeMore() {
	if r.n < batch {
		return
	}
	select {
	case r.l.more <- struct{}{}:
	default:
	}
}

// answer answers the packets that were read.
func (r *reader) answer() {
	r.l.swap.RLock()
	defer r.l.swap.RUnlock()
	s, now := r.l.server, clock()
	r.answered = 0
	for i := range r.n {
		query := r.queries[i][:r.in[i].len]
		key, usual := parseQuery(query, r.key[:0])
		if !usual {
			r.unusual(s, i, query)
			continue
		}
		hash := s.store.hash(key)
		e := s.store.get(hash, key)
		if e == nil || !e.fresh(now) {
			r.miss(s, i, query, lookup{key, hash, e})
			continue
		}
		r.reply(i, e.replay(r.room(), query, now), e)
	}
	if r.answered > 0 {
		r.flush(s, now)
	}
}

// room is where the next answer is written to.
func (r *reader) room() []byte { return r.answers[r.answered][:] }

// reply puts the n octets in room into the output, as the answer to the i-th packet; e is the entry that they come from.
func (r *reader) reply(i, n int, e *entry) {
	o := r.answered
	r.outVec[o].SetLen(n)
	r.out[o].hdr.Name, r.out[o].hdr.Namelen = r.in[i].hdr.Name, r.in[i].hdr.Namelen
	r.hits[o] = e
	r.answered++
}

// A lookup is what is known of a query of the usual form that is not answered from the store.
type lookup struct {
	key  []byte
	hash uint64
	old  *entry // an answer that is to be renewed; nil: none
}

// miss hands a query to the plugins if its client gets a place. Otherwise it answers a query of the usual form at once, with the
// old answer while its TTLs last, else with SERVFAIL. It drops one of an unusual form, for which l is zero.
func (r *reader) miss(s *server, i int, query []byte, l lookup) {
	client := shares.Client(r.sender(i).Addr())
	if v := s.places.Enter(client, l.old != nil); v != shares.Admitted {
		if now := clock(); l.old != nil && now < l.old.ends {
			r.reply(i, l.old.replay(r.room(), query, now), l.old)
			return
		}
		s.refused[v].Inc()
		if l.key != nil {
			r.reply(i, refuse(r.room(), query), nil)
		}
		return
	}
	s.misses.Inc()
	buf := append(append(make([]byte, 0, len(query)+len(l.key)), query...), l.key...)
	m := &miss{server: s, client: client, remote: r.remote(i), query: buf[:len(query):len(query)], hash: l.hash}
	if l.key != nil {
		m.key = buf[len(query):]
	}
	s.queries.Go(m.serve)
}

// unusual does with a packet of an unusual form what the stock server does. It answers here what the stock server rejects by
// the header alone.
func (r *reader) unusual(s *server, i int, packet []byte) {
	switch action := screen(packet); action {
	case dns.MsgAccept:
		r.miss(s, i, packet, lookup{})
	case dns.MsgReject, dns.MsgRejectNotImplemented:
		s.misses.Inc()
		r.reply(i, reject(r.room(), packet, action), nil)
	}
}

// flush sends the answers and counts them.
func (r *reader) flush(s *server, begin time.Duration) {
	if unsent := r.answered - r.send(); unsent > 0 {
		s.unsent.Add(float64(unsent))
	}
	took, hits := clock()-begin, 0
	for i, e := range r.hits[:r.answered] {
		if e == nil {
			continue
		}
		hits++
		c := e.count.Load()
		if c == nil {
			c = newCounters(e, s)
			e.count.Store(c)
		}
		c.hit(took)
		r.hits[i] = nil
	}
	s.hits.Add(float64(hits))
}

// send sends the answers, and returns how many the kernel took. It does not wait for room: a few readers answer all
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

// sender returns the sender of the i-th packet.
func (r *reader) sender(i int) netip.AddrPort {
	name := &r.names[i]
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&name.Port))[:])
	if name.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(name)).Addr), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(name.Addr), port)
}

// remote returns the sender of the i-th packet as the plugins take it.
func (r *reader) remote(i int) *net.UDPAddr {
	a := net.UDPAddrFromAddrPort(r.sender(i))
	if zone := r.names[i].Scope_id; zone != 0 && r.names[i].Family == unix.AF_INET6 {
		a.Zone = strconv.Itoa(int(zone)) // its name would be a question to the kernel for each packet
	}
	return a
}
