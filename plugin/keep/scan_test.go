// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
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

// TestAHostileRingCostsLittle is of a ring in which everywhere a long record seems to begin.
func TestAHostileRingCostsLittle(t *testing.T) {
	ring := make([]byte, 1<<20)
	for at := 0; at+16 <= len(ring); at += 16 {
		binary.LittleEndian.PutUint64(ring[at:], 7)
		binary.LittleEndian.PutUint32(ring[at+12:], maxRecord)
	}
	begin := time.Now()
	scan(ring, 7, 0, uint64(len(ring)), make([]byte, maxRecord), func(*record) { t.Error("a record") })
	if took := time.Since(begin); took > time.Second { // all of the checksums would take much longer
		t.Error(took)
	}
}

// leftBy returns the content of a file with some records.
func leftBy(t testing.TB, records int) []byte {
	dir := t.TempDir()
	s, err := openStore(dir, minSize, boottime())
	if err != nil {
		t.Fatal(err)
	}
	for i := range records {
		r := sample(fmt.Sprintf("n%d.test.", i), "192.0.2.1", boottime())
		r.kind = kind(i % int(kinds))
		s.put(r)
	}
	path := s.own.path
	end(s)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// FuzzRead reads a file as a start does. Whatever is in it, there is an answer, of the question, or none.
func FuzzRead(f *testing.F) {
	for _, n := range []int{0, 10, 3000} {
		good := leftBy(f, n)
		f.Add(good, uint32(0), byte(0))
		f.Add(good[:len(good)/2], uint32(0), byte(0))
		f.Add(good, uint32(headsAt), byte(0xff))
		f.Add(good, uint32(pageLen+12), byte(0x80))
		f.Add(good, uint32(pageLen+headLen+1), byte(1))
	}
	dir := f.TempDir()
	r := sample("n0.test.", "192.0.2.1", 0)
	f.Fuzz(func(t *testing.T, content []byte, at uint32, flip byte) {
		content = bytes.Clone(content)
		if int(at) < len(content) {
			content[at] ^= flip
		}
		if id, err := readBootID(); err == nil && len(content) >= minSize { // so that more of them get beyond the header
			copy(content, header(len(content), binary.LittleEndian.Uint64(content[48:]), id))
		}
		if err := os.WriteFile(filepath.Join(dir, filePrefix+"left"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		quiet(func() {
			s, err := openStore(dir, minSize, boottime())
			if err != nil {
				t.Fatal(err)
			}
			if a := s.find(r.key, &lenient, boottime()); a.freshness != none && (a.left > a.lifetime || a.lifetime > lenient.success.most) {
				t.Errorf("%+v", a)
			}
			s.put(r)
			_ = s.own.remove()
		})
	})
}
