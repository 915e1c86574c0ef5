// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"errors"
	"hash/maphash"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A store is the answers that a process keeps, in a file or in memory only. It survives all configurations of
// the process. Its methods may be called by several goroutines.
type store struct {
	size int
	puts atomic.Uint64 // how often something was stored

	mu      sync.Mutex
	own     *file
	rings   [kinds]*ring
	peers   []*peer
	looked  int64  // when peers were last asked whether they live, ns of CLOCK_BOOTTIME
	scratch []byte // for records of peers
}

// openStore returns a store of size octets. dir is where its file is; without dir, or if there can be no file,
// the store is memory only, and a line of the log says why. It reads the files of other processes in either case.
func openStore(dir string, size int, now int64) (*store, error) {
	own, bootID, failure := create(dir, size)
	if own == nil {
		var err error
		if own, err = createMemory(size); err != nil {
			return nil, err
		}
	}
	s := &store{size: size}
	s.use(own)
	s.mu.Lock()
	defer s.mu.Unlock()
	if bootID != "" { // otherwise dir must not be used
		s.peers = openPeers(dir, own.path, bootID)
		s.follow(now, true)
		if failure != nil { // files that are removed now may have taken the room
			failure = s.move(dir, bootID, now)
		}
	}
	if failure != nil {
		log.Warningf("Kept in memory only, and lost when the process ends: %v", failure)
	}
	return s, nil
}

// move makes the file in dir that could not be made before, and puts into it what is in memory.
func (s *store) move(dir, bootID string, now int64) error {
	own, err := createFile(dir, s.size, bootID)
	if err != nil {
		return err
	}
	memory := s.own
	s.use(own)
	s.copyAll(memory, now)
	return memory.close()
}

// create returns a new file in dir, and the boot's id, also if it is only the file that could not be made.
func create(dir string, size int) (*file, string, error) {
	if dir == "" {
		return nil, "", nil
	}
	if err := checkDir(dir); err != nil {
		return nil, "", err
	}
	bootID, err := readBootID()
	if err != nil {
		return nil, "", err
	}
	own, err := createFile(dir, size, bootID)
	return own, bootID, err
}

// use makes f, which is empty, the store's file.
func (s *store) use(f *file) {
	s.own = f
	for k := range s.rings {
		s.rings[k] = &ring{mem: f.rings[k], head: f.heads[k], salt: f.salt, seed: maphash.MakeSeed(), index: map[uint64]place{}}
	}
}

// freshness says how an answer may be used.
type freshness int

const (
	none  freshness = iota
	fresh           // its lifetime is not over
	old             // only its stale time is not over
)

// A found is an answer of the store.
type found struct {
	freshness freshness
	wire      []byte        // a copy
	left      time.Duration // of the lifetime
	lifetime  time.Duration
	retry     int64 // when the upstream may be asked again, ns of CLOCK_BOOTTIME
}

// find returns what is known of key at the time now, by the rules of its server block.
func (s *store) find(key []byte, r *rules, now int64) (a found) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.protect(debug.SetPanicOnFault(true))
	if len(s.peers) > 0 {
		s.follow(now, false)
	}
	pos, place, ok := s.rings[positive].get(key)
	state := none
	if ok {
		state = r.freshness(&pos, now)
	}
	neg, _, denied := s.rings[denial].get(key)
	if denied && !(state != none && r.stale.preferPositive) && (!ok || neg.stored > pos.stored) {
		// What was said last counts, also if its lifetime is over.
		pos, state = neg, r.freshness(&neg, now)
	}
	if state == none {
		return a
	}
	return found{
		freshness: state, wire: append([]byte(nil), pos.wire...), retry: place.retry,
		left: time.Duration(min(pos.stored+pos.lifetime-now, pos.lifetime)), lifetime: time.Duration(pos.lifetime),
	}
}

// put stores an answer.
func (s *store) put(r *record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.protect(debug.SetPanicOnFault(true))
	s.rings[r.kind].put(r)
	s.removeDenied(r)
	s.puts.Add(1)
}

// removeDenied removes the positive answer that the denial r makes void. A comparison of the two when a question
// comes is not enough: the denial may be pushed out by others before the stale time of the answer is over.
func (s *store) removeDenied(r *record) {
	if !r.final {
		return
	}
	g := s.rings[positive]
	if known, _, ok := g.get(r.key); ok && known.stored <= r.stored {
		g.remove(g.hash(r.key))
	}
}

// voided reports whether a denial that is known makes the answer r void.
func (s *store) voided(r *record) bool {
	if r.kind != positive {
		return false
	}
	known, _, ok := s.rings[denial].get(r.key)
	return ok && known.final && known.stored >= r.stored
}

// failed notes that the upstream failed to answer key. It need not be asked again until retry.
func (s *store) failed(key []byte, retry int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rings[positive].failed(key, retry)
}

// follow reads what peers have written, and removes the files of those that are gone. all is for the start:
// everything is read, and each peer is asked whether it lives.
func (s *store) follow(now int64, all bool) {
	defer s.protect(debug.SetPanicOnFault(true))
	look := all || now-s.looked > int64(time.Second)
	if look {
		s.looked = now
	}
	for i := len(s.peers) - 1; i >= 0; i-- {
		p := s.peers[i]
		gone := look && p.abandoned() // asked first: what is read after that is all
		if all || p.moved() {
			recoveredTotal.Add(float64(s.copyFrom(p, now)))
		}
		if gone {
			s.peers = append(s.peers[:i], s.peers[i+1:]...)
			if err := p.remove(); err != nil {
				log.Warningf("Not removed: %v", err)
			}
		}
	}
	if len(s.peers) == 0 {
		s.scratch = nil
	}
}

// copyFrom takes over the records of p that are newer than what is known, and still of use. It returns how many.
func (s *store) copyFrom(p *peer, now int64) (n int) {
	if s.scratch == nil {
		s.scratch = make([]byte, maxRecord)
	}
	p.each(s.scratch, func(r *record) {
		if r.stored > now+slack || r.until <= now {
			return
		}
		g := s.rings[r.kind]
		if known, _, ok := g.get(r.key); ok && known.stored >= r.stored || s.voided(r) {
			return
		}
		if g.put(r) {
			n++
		}
		s.removeDenied(r)
	})
	return n
}

// protect is deferred by whoever touches a mapping, with what debug.SetPanicOnFault(true) returned. A file that
// somebody has shortened cannot be touched any more. A peer's is given up; in the place of the own one comes
// memory.
func (s *store) protect(before bool) {
	debug.SetPanicOnFault(before)
	switch e := recover().(type) {
	case nil:
	case interface {
		error
		Addr() uintptr
	}:
		if !s.giveUp(e.Addr()) {
			panic(e)
		}
	default:
		panic(e)
	}
}

func (s *store) giveUp(addr uintptr) bool {
	for i, p := range s.peers {
		if p.contains(addr) {
			log.Warningf("Not used any more: %s was shortened while it was read", p.path)
			s.peers = append(s.peers[:i:i], s.peers[i+1:]...)
			_ = p.close()
			return true
		}
	}
	if !s.own.contains(addr) {
		return false
	}
	lost := s.own
	memory, err := createMemory(s.size)
	if err != nil {
		return false
	}
	log.Warningf("Begun anew, in memory only: %s was shortened by another program", lost.path)
	s.use(memory)
	_ = lost.remove()
	return true
}

// adopt takes over what other knows, and removes it. A file that cannot be deleted is no reason to refuse a
// configuration: a later start deletes it.
func (s *store) adopt(other *store, now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	other.mu.Lock()
	defer other.mu.Unlock()
	s.copyAll(other.own, now)
	err := other.own.remove()
	other.use(new(file)) // a query that is on its way finds nothing in it
	for _, p := range other.peers {
		err = errors.Join(err, p.close())
	}
	other.peers = nil
	if err != nil {
		log.Warningf("Not removed: the last store: %v", err)
	}
}

// copyAll takes over what is in another file of this process. It makes that a peer for a moment, so that it may be
// shortened meanwhile.
func (s *store) copyAll(other *file, now int64) {
	p := &peer{file: other}
	s.peers = append(s.peers, p)
	defer func() { s.peers = slices.DeleteFunc(s.peers, func(q *peer) bool { return q == p }) }()
	defer s.protect(debug.SetPanicOnFault(true))
	s.copyFrom(p, now)
}

// usage returns the number of entries, and the octets that they take, of one kind.
func (s *store) usage(k kind) (entries int, octets uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.rings[k]
	return len(g.index), g.next - g.tail
}
