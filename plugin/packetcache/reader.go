// SPDX-License-Identifier: Apache-2.0

package packetcache

import (
	"encoding/binary"
	"net"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// batch is how many packets are read, and how many answers written, in one call.
	batch = 32
	// maxQuery is how much of a packet is read, as the stock server does (dns.MinMsgSize).
	maxQuery = 512
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
	hits        [batch]*entry
	key         [maxKey]byte
	n, answered int
	sent        int
	warned      unix.Errno

	// For the connection; made once, as they would be allocated each time.
	serves, sends func(fd uintptr) bool
}

func newReader(l *listener, spare bool) *reader {
	r := &reader{l: l, spare: spare}
	r.serves, r.sends = r.serve, r.send
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
			r.drain()
		case <-r.l.closing:
			return
		}
	}
	_ = r.l.conn.Read(r.serves) // until release wakes it
	r.drain()
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
		}
		select {
		case <-r.l.closing:
			return true
		default:
		}
	}
}

// drain answers what is there, and does not wait for more.
func (r *reader) drain() {
	for r.receive(r.l.fd) == 0 {
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
			r.miss(s, i, query, key, hash, e != nil)
			continue
		}
		r.hit(e, i, query, now)
	}
	if r.answered > 0 {
		r.flush(s, now)
	}
}

// hit puts the answer into the next place of the output.
func (r *reader) hit(e *entry, i int, query []byte, now time.Duration) {
	o := r.answered
	r.outVec[o].SetLen(e.replay(r.answers[o][:], query, now))
	r.out[o].hdr.Name, r.out[o].hdr.Namelen = r.in[i].hdr.Name, r.in[i].hdr.Namelen
	r.hits[o] = e
	r.answered++
}

// miss hands a query to the plugins; known says that it was answered before.
func (r *reader) miss(s *server, i int, query, key []byte, hash uint64, known bool) {
	if !s.enter(known) {
		s.dropped.Inc()
		return
	}
	s.misses.Inc()
	buf := append(append(make([]byte, 0, len(query)+len(key)), query...), key...)
	m := &miss{server: s, remote: r.remote(i), query: buf[:len(query):len(query)], key: buf[len(query):], hash: hash}
	go m.serve()
}

// unusual hands a packet to the stock server. Those that it would not answer,
// too short ones and answers, end here.
func (r *reader) unusual(s *server, i int, query []byte) {
	if len(query) < headerLen || query[2]&bitQR != 0 {
		return
	}
	if !s.pipe.put(append([]byte(nil), query...), r.remote(i)) {
		s.dropped.Inc()
		return
	}
	s.misses.Inc()
}

// flush sends the answers and counts them.
func (r *reader) flush(s *server, begin time.Duration) {
	r.sent = 0
	if !r.send(r.l.fd) {
		_ = r.l.conn.Write(r.sends) // waits for room, and lets one in at a time
	}
	took := clock() - begin
	s.hits.Add(float64(r.answered))
	for i, e := range r.hits[:r.answered] {
		c := e.count.Load()
		if c == nil {
			c = newCounters(e, s)
			e.count.Store(c)
		}
		c.hit(took)
		r.hits[i] = nil
	}
}

// send sends the answers, and returns false if there is no room for them.
func (r *reader) send(fd uintptr) bool {
	for r.sent < r.answered {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&r.out[r.sent])), uintptr(r.answered-r.sent), unix.MSG_DONTWAIT, 0, 0)
		switch {
		case errno == unix.EAGAIN:
			return false
		case errno != 0:
			r.sent++ // that one cannot be sent, which is the client's loss alone
		default:
			r.sent += int(n)
		}
	}
	return true
}

// remote returns the sender of the i-th packet.
func (r *reader) remote(i int) *net.UDPAddr {
	name := &r.names[i]
	port := int(binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&name.Port))[:]))
	if name.Family == unix.AF_INET {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		return &net.UDPAddr{IP: append(net.IP(nil), v4.Addr[:]...), Port: port}
	}
	a := &net.UDPAddr{IP: append(net.IP(nil), name.Addr[:]...), Port: port}
	if name.Scope_id != 0 {
		a.Zone = strconv.Itoa(int(name.Scope_id)) // its name would be a question to the kernel for each packet
	}
	return a
}
