// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"encoding/binary"
	"errors"
	"fmt"
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

// openPeers opens the files of other processes in dir. Names that are not of keep are left alone.
func openPeers(dir, own, bootID string) (peers []*peer) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		log.Warningf("Not read: %v", err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if path == own || !isName(e.Name()) || len(peers) == maxPeers {
			continue
		}
		switch f, err := loadFile(path, bootID); {
		case f != nil:
			peers = append(peers, &peer{file: f})
		case err != nil && !errors.Is(err, os.ErrNotExist): // else another start was first
			log.Warningf("Not used: %v", err)
		}
	}
	return peers
}

// loadFile returns the file at path, or nil and what the log is to say of it.
func loadFile(path, bootID string) (*file, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	if err := f.load(bootID); err != nil {
		return nil, f.discard(err)
	}
	return f, nil
}

// discard closes a file that could not be loaded for the given reason. It deletes one that will never be of use and
// whose owner is gone, so that it is not spoken of at each start. It returns what the log is to say.
func (f *file) discard(reason error) error {
	if !errors.As(reason, new(wrong)) || !f.abandoned() {
		return errors.Join(reason, f.close())
	}
	switch err := f.remove(); {
	case err != nil:
		return fmt.Errorf("%w; and not deleted: %w", reason, err)
	case errors.Is(reason, errOtherBoot):
		return nil
	}
	return fmt.Errorf("%w; deleted", reason)
}
