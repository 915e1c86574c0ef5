// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
)

// A peer is another process's file, from which records are copied: all of them at first, then those that come.
type peer struct {
	*file
	begun bool
	read  [kinds]uint64 // positions up to which the rings are read
}

// moved reports whether the peer has written since it was read.
func (p *peer) moved() bool {
	return p.heads[positive].Load() != p.read[positive] || p.heads[denial].Load() != p.read[denial]
}

// each calls f with every record that the peer's rings have gained, the oldest first. The record is a copy in
// scratch, which has maxRecord octets, so that what is checked is what is used.
//
// Positions come from outside. They say where to begin, and how much is new; what is a record, its checksum says.
func (p *peer) each(scratch []byte, f func(*record)) {
	for k := range kinds {
		ring, head := p.rings[k], p.heads[k].Load()
		from, n := head, uint64(len(ring)) // all of it; behind the newest record is the oldest
		if gained := head - p.read[k]; p.begun && gained <= n {
			from, n = p.read[k], gained
		}
		p.read[k] = head
		scan(ring, p.salt, from, n, scratch, func(r *record) {
			if r.kind == k {
				f(r)
			}
		})
	}
	p.begun = true
}

// scan calls f with the records in the n octets of a ring from a position on. It computes the checksums of no
// more than twice as many octets, whatever is in them.
func scan(ring []byte, salt, from, n uint64, scratch []byte, f func(*record)) {
	from &^= 7
	budget := 2 * int(n)
	for done := uint64(0); done < n; {
		b := ring[(from+done)%uint64(len(ring)):]
		length := recordLen(b, salt)
		if length == 0 {
			done += skip(b)
			continue
		}
		if budget -= length; budget < 0 {
			return
		}
		r, ok := decode(scratch[:copy(scratch, b[:length])], salt)
		if !ok {
			done += 8 // overwritten in part, or damaged; the next record may be inside
			continue
		}
		f(&r)
		done += uint64(aligned(length))
	}
}

// skip returns how far the next record is at least from b, where none begins.
func skip(b []byte) uint64 {
	if len(b) >= fillerLen && binary.LittleEndian.Uint32(b) == 0 && int(binary.LittleEndian.Uint32(b[4:])) == len(b) {
		return uint64(len(b))
	}
	return 8
}

// maxPeers bounds the files that are read at a start. Each process leaves one, and each start removes those of
// processes that are gone.
const maxPeers = 16

// openPeers opens the files of other processes in dir.
func openPeers(dir, own, bootID string) (peers []*peer) {
	names, err := filepath.Glob(filepath.Join(dir, filePrefix+"*"))
	if err != nil {
		log.Warningf("Not read: %v", err)
	}
	for _, path := range names {
		if path == own || len(peers) == maxPeers {
			continue
		}
		if f, err := openFile(path, bootID); err == nil {
			peers = append(peers, &peer{file: f})
		} else if !errors.Is(err, os.ErrNotExist) { // else another start was first
			discard(path, err)
		}
	}
	return peers
}

// discard deletes a file that cannot be used, so that it is not spoken of at each start.
func discard(path string, reason error) {
	switch err := os.Remove(path); {
	case err != nil:
		log.Warningf("Not used: %v; and not deleted: %v", reason, err)
	case !errors.Is(reason, errOtherBoot):
		log.Warningf("Not used, and deleted: %v", reason)
	}
}
