// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/metric"
)

var recoveredTotal = metric.Of("keep").Counter("recovered_total",
	"Counter of answers that were copied from files, of earlier processes and of running ones.")

// A peer is another process's file. The store copies all records of the file once, and later the new ones.
type peer struct {
	*file
	begun bool
	read  [Kinds]uint64 // positions up to which the rings are read
}

// moved reports whether the peer has written records since the last call of each.
func (p *peer) moved() bool {
	return p.heads[Positive].Load() != p.read[Positive] || p.heads[Denial].Load() != p.read[Denial]
}

// each calls f with every new record of the peer's rings, the oldest first. The record is a copy in scratch, which has maxRecord
// octets: the peer may overwrite its own copy between the check and the use.
//
// The other process writes the positions, so they may be wrong. They say where each begins and how many octets are new. Only
// its checksum makes a record valid.
func (p *peer) each(scratch []byte, f func(*Record)) {
	for k := range Kinds {
		ring, head := p.rings[k], p.heads[k].Load()
		from, n := head, uint64(len(ring)) // the whole ring: the oldest record follows the newest
		if gained := head - p.read[k]; p.begun && gained <= n {
			from, n = p.read[k], gained
		}
		p.read[k] = head
		scan(ring, p.salt, from, n, scratch, func(r *Record) {
			if r.Kind == k {
				f(r)
			}
		})
	}
	p.begun = true
}

// scan calls f with the records in the n octets of ring behind the position from. Whatever the octets are, scan computes
// checksums of 2n octets at most.
func scan(ring []byte, salt, from, n uint64, scratch []byte, f func(*Record)) {
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
			done += 8 // the record is damaged, or overwritten in part; another record may begin inside
			continue
		}
		f(&r)
		done += uint64(aligned(length))
	}
}

// skip returns the least distance of the next record from the beginning of b, where no record begins.
func skip(b []byte) uint64 {
	if len(b) >= fillerLen && binary.LittleEndian.Uint32(b) == 0 && int(binary.LittleEndian.Uint32(b[4:])) == len(b) {
		return uint64(len(b))
	}
	return 8
}

// maxPeers bounds the files that a start reads. Each process leaves one file, and each start removes the files of processes that
// have ended.
const maxPeers = 16

// openPeers opens the files of other processes in dir. It does not touch files with names that createFile does not give.
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
		case err != nil && !errors.Is(err, os.ErrNotExist): // another start may have removed the file
			log.Warningf("Not used: %v", err)
		}
	}
	return peers
}

// loadFile returns the file at path. If the file cannot be used, loadFile returns nil and the text for the log, or nil for none.
func loadFile(path, bootID string) (*file, error) {
	opened, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	f := &file{f: opened, path: path}
	if err := f.load(bootID); err != nil {
		return nil, f.discard(err)
	}
	return f, nil
}

// discard closes f, which could not be loaded because of reason. If no process can use f and its process has ended, discard
// deletes the file, so that the next start need not log it again. It returns the text for the log, or nil for none.
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
