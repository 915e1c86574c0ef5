// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sign gives a header the checksum that it should have.
func sign(b []byte) {
	binary.LittleEndian.PutUint32(b[sumAt:], crc32.Checksum(b[:sumAt], castagnoli))
}

// inOwnMounts runs f in a mount namespace of its own, on a thread that ends then.
func inOwnMounts(t *testing.T, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestAHostileRingCostsLittle scans a ring in which a long record seems to begin at each position.
func TestAHostileRingCostsLittle(t *testing.T) {
	ring := make([]byte, 1<<20)
	for at := 0; at+16 <= len(ring); at += 16 {
		binary.LittleEndian.PutUint64(ring[at:], 7)
		binary.LittleEndian.PutUint32(ring[at+12:], maxRecord)
	}
	begin := time.Now()
	scan(ring, 7, 0, uint64(len(ring)), make([]byte, maxRecord), func(*Record) { t.Error("a record") })
	if took := time.Since(begin); took > time.Second { // all of the checksums would take much longer
		t.Error(took)
	}
}

// leftBy returns the beginning of a file with some records: its header, and n octets of its first ring.
func leftBy(t testing.TB, n int) []byte {
	dir := t.TempDir()
	s, err := open(dir, MinSize, Boottime())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		s.Put(sample(fmt.Sprintf("n%d.test.", i), "192.0.2.1", Boottime()))
	}
	path := s.own.path
	end(s)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b[:pageLen+n]
}

// FuzzRead reads a file as a start does. Every answer from the file is within the limits.
func FuzzRead(f *testing.F) {
	for _, n := range []int{0, 100, 1024, 4096} {
		good := leftBy(f, n)
		f.Add(good, uint32(0), byte(0))
		f.Add(good, uint32(headsAt), byte(0xff))
		f.Add(good, uint32(pageLen+12), byte(0x80))
		f.Add(good, uint32(pageLen+headLen+1), byte(1))
	}
	id, err := readBootID()
	if err != nil {
		f.Fatal(err)
	}
	s := newStore(f, "", MinSize)
	r := sample("n0.test.", "192.0.2.1", 0)
	f.Fuzz(func(t *testing.T, content []byte, at uint32, flip byte) {
		mem := make([]byte, max(len(content), pageLen+64))
		copy(mem, content)
		mem[int(at)%len(mem)] ^= flip
		if checkHeader(mem[:sumAt+4], len(mem), id) == nil && !bytes.HasPrefix(mem, []byte(fileMagic)) {
			t.Error("taken for a file of keep")
		}
		left := new(file)
		left.layout(mem) // as if the header were right
		now := Boottime()
		for range 2 {
			s.copyFrom(&peer{file: left}, now)
		}
		a := s.Find(r.Key, lenient, now)
		if a.Freshness != None && (a.Left > a.Lifetime || a.Lifetime > lenient.Positive) {
			t.Errorf("%+v", a)
		}
		s.Put(r)
		for _, g := range s.rings {
			g.clear()
		}
	})
}
