// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"hash/maphash"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Store holds answers, in a file or in memory only. The Store outlives the configurations of the process. Several goroutines
// may call its methods at once.
type Store struct {
	size int
	puts atomic.Uint64

	mu      sync.Mutex
	own     *file
	rings   [Kinds]*ring
	peers   []*peer
	looked  int64  // when the Store last checked which peers live, ns of CLOCK_BOOTTIME
	scratch []byte // room for one record of a peer
}

// open returns a Store of size octets with a file in dir. If dir is empty, or no file can be made there, the Store is in memory
// only; a line of the log gives the reason. In both cases open reads the files of other processes.
func open(dir string, size int, now int64) (*Store, error) {
	own, bootID, failure := create(dir, size)
	if own == nil {
		var err error
		if own, err = createMemory(size); err != nil {
			return nil, err
		}
	}
	s := &Store{size: size}
	s.use(own)
	s.mu.Lock()
	defer s.mu.Unlock()
	if bootID != "" { // dir may be used
		s.peers = openPeers(dir, own.path, bootID)
		s.follow(now, true)
		if failure != nil { // follow may have removed files, so that there is room now
			failure = s.move(dir, bootID, now)
		}
	}
	if failure != nil {
		log.Warningf("Kept in memory only, and lost when the process ends: %v", failure)
	}
	return s, nil
}

// move makes the file that create could not make, and copies the answers from memory to the file.
func (s *Store) move(dir, bootID string, now int64) error {
	own, err := createFile(dir, s.size, bootID)
	if err != nil {
		return err
	}
	memory := s.own
	s.use(own)
	s.copyAll(memory, now)
	return memory.close()
}

// create returns a new file in dir and the id of this boot. If only the file cannot be made, create returns the id and an error.
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

// use makes f the file of the Store. f has no records.
func (s *Store) use(f *file) {
	s.own = f
	for k := range s.rings {
		s.rings[k] = &ring{mem: f.rings[k], head: f.heads[k], salt: f.salt, seed: maphash.MakeSeed(), index: map[uint64]place{}}
	}
}

// A Found is an answer of the Store.
type Found struct {
	Freshness Freshness
	Wire      []byte        // the packed answer without OPT; a copy
	Left      time.Duration // until the lifetime ends; negative behind the end
	Lifetime  time.Duration
}

// Find returns what the Store knows of key at the time now, ns of CLOCK_BOOTTIME. Find uses only records that l allows.
func (s *Store) Find(key []byte, l Limits, now int64) (a Found) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.protect(debug.SetPanicOnFault(true))
	if len(s.peers) > 0 {
		s.follow(now, false)
	}
	r, place, ok := s.rings[Positive].get(key)
	state := None
	if ok {
		state = l.freshness(&r, now, place.retry)
	}
	denial, _, denied := s.rings[Denial].get(key)
	if denied && !(state != None && l.PreferPositive) && (!ok || denial.Stored > r.Stored) {
		// The newer record counts, even if its lifetime is over.
		r, state = denial, l.freshness(&denial, now, 0)
	}
	if state == None {
		return a
	}
	return Found{
		Freshness: state, Wire: append([]byte(nil), r.Wire...),
		Left: time.Duration(min(r.Stored+r.Lifetime-now, r.Lifetime)), Lifetime: time.Duration(r.Lifetime),
	}
}

// Puts returns how often Put was called. While the number stays the same, Find has no new answer of this process.
func (s *Store) Puts() uint64 { return s.puts.Load() }

// Put stores a copy of r. The oldest records make room.
func (s *Store) Put(r *Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.protect(debug.SetPanicOnFault(true))
	s.rings[r.Kind].put(r)
	s.removeDenied(r)
	s.puts.Add(1)
}

// removeDenied removes the positive record that the final denial r replaces. Find compares the two records, but that is not
// enough: other denials may push r out of its ring before the stale time of the positive record is over.
func (s *Store) removeDenied(r *Record) {
	if !r.Final {
		return
	}
	g := s.rings[Positive]
	if known, _, ok := g.get(r.Key); ok && known.Stored <= r.Stored {
		g.remove(g.hash(r.Key))
	}
}

// voided reports whether a stored final denial is newer than the positive record r.
func (s *Store) voided(r *Record) bool {
	if r.Kind != Positive {
		return false
	}
	known, _, ok := s.rings[Denial].get(r.Key)
	return ok && known.Final && known.Stored >= r.Stored
}

// Failed records that the upstream failed to answer key. Until retry, ns of CLOCK_BOOTTIME, Find returns an Old answer as Spared.
func (s *Store) Failed(key []byte, retry int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rings[Positive].failed(key, retry)
}

// follow copies the new records of peers, and removes the files of peers that have ended. With all, follow reads every record
// and checks every peer; otherwise it checks the peers once a second.
func (s *Store) follow(now int64, all bool) {
	defer s.protect(debug.SetPanicOnFault(true))
	look := all || now-s.looked > int64(time.Second)
	if look {
		s.looked = now
	}
	for i := len(s.peers) - 1; i >= 0; i-- {
		p := s.peers[i]
		gone := look && p.abandoned() // before the records are read: a peer that has ended writes no more
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

// copyFrom stores the records of p that are newer than those of the Store and may still be used. It returns their number.
func (s *Store) copyFrom(p *peer, now int64) (n int) {
	if s.scratch == nil {
		s.scratch = make([]byte, maxRecord)
	}
	p.each(s.scratch, func(r *Record) {
		if r.Stored > now+slack || r.Until <= now {
			return
		}
		g := s.rings[r.Kind]
		if known, _, ok := g.get(r.Key); ok && known.Stored >= r.Stored || s.voided(r) {
			return
		}
		if g.put(r) {
			n++
		}
		s.removeDenied(r)
	})
	return n
}

// protect is deferred by each function that touches a mapping; before is the result of debug.SetPanicOnFault(true). If another
// program has shortened a file, each access to its mapping is a fault. protect then gives up the file of a peer, and replaces
// the Store's own file with memory.
func (s *Store) protect(before bool) {
	debug.SetPanicOnFault(before)
	e := recover()
	if fault, ok := e.(interface{ Addr() uintptr }); e != nil && !(ok && s.giveUp(fault.Addr())) {
		panic(e)
	}
}

func (s *Store) giveUp(addr uintptr) bool {
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

// adopt copies the answers of other, and ends other and removes its file. If the file cannot be removed, the configuration
// starts all the same: a later start removes the file.
func (s *Store) adopt(other *Store, now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	other.mu.Lock()
	defer other.mu.Unlock()
	s.copyAll(other.own, now)
	if err := other.end((*file).remove); err != nil {
		log.Warningf("Not removed: the last store: %v", err)
	}
}

// end ends the Store: leave is called with its file, and all peers are closed. A query that still uses the Store finds nothing.
func (s *Store) end(leave func(*file) error) error {
	err := leave(s.own)
	s.use(new(file))
	for _, p := range s.peers {
		err = errors.Join(err, p.close())
	}
	s.peers = nil
	return err
}

// copyAll copies all records from a file of this process. The file is a peer meanwhile, so that protect knows the file if
// another program shortens it.
func (s *Store) copyAll(other *file, now int64) {
	p := &peer{file: other}
	s.peers = append(s.peers, p)
	defer func() { s.peers = slices.DeleteFunc(s.peers, func(q *peer) bool { return q == p }) }()
	defer s.protect(debug.SetPanicOnFault(true))
	s.copyFrom(p, now)
}

// Usage returns the number of entries of one kind and the octets that they take.
func (s *Store) Usage(k Kind) (entries int, octets uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.rings[k]
	return len(g.index), g.next - g.tail
}
