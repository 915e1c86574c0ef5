// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Format is the version of the file and of the hash of a server block.
const Format = 1

// A file begins with a page that describes the file, little endian:
//
//	 0  "nodelocaldns keep" and zeros
//	32  format, 36 zero, 40 size of the file, 48 salt of its records
//	56  boot id of the kernel, 36 characters: times of another boot cannot be compared
//	92  CRC-32C of the octets above
//	128 position behind the newest positive answer, 136 behind the newest denial
//
// The ring of positive answers takes seven eighths of the rest, and the ring of denials one eighth. So a flood of random names
// does not push out positive answers.
const (
	fileMagic  = "nodelocaldns keep"
	pageLen    = 4096
	sumAt      = 92
	headsAt    = 128
	filePrefix = "keep-"
	textLen    = 26 // characters of the random text behind filePrefix, in base32
)

// bootIDFile holds the id of this boot of the kernel.
const bootIDFile = "/proc/sys/kernel/random/boot_id"

// A file is a mapping of pageLen octets and two rings, and the file on disk behind the mapping.
type file struct {
	mem   []byte
	salt  uint64
	f     *os.File // nil: memory only
	path  string
	rings [Kinds][]byte
	heads [Kinds]*atomic.Uint64
}

// header returns the first octets of a new file.
func header(size int, salt uint64, bootID string) []byte {
	b := make([]byte, sumAt+4)
	copy(b, fileMagic)
	le := binary.LittleEndian
	le.PutUint32(b[32:], Format)
	le.PutUint64(b[40:], uint64(size))
	le.PutUint64(b[48:], salt)
	copy(b[56:sumAt], bootID)
	le.PutUint32(b[sumAt:], crc32.Checksum(b[:sumAt], castagnoli))
	return b
}

// layout sets the parts of f to those of mem, a whole file.
func (f *file) layout(mem []byte) {
	f.mem = mem
	f.salt = binary.LittleEndian.Uint64(mem[48:])
	split := pageLen + (len(mem)-pageLen)/8*7&^7
	f.rings = [Kinds][]byte{mem[pageLen:split:split], mem[split : len(mem)&^7]}
	for k := range f.heads {
		f.heads[k] = (*atomic.Uint64)(unsafe.Pointer(&mem[headsAt+8*k]))
	}
}

// createMemory returns a file of size octets in memory only.
func createMemory(size int) (*file, error) {
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("allocating %d octets: %w", size, err)
	}
	copy(mem, header(size, newSalt(), ""))
	f := new(file)
	f.layout(mem)
	return f, nil
}

// createFile makes a new file in dir, and locks the file: the lock tells other processes that this process runs. The file gets
// its name when it is complete, so that no other process finds it incomplete.
func createFile(dir string, size int, bootID string) (_ *file, err error) {
	fd, err := unix.Open(dir, unix.O_RDWR|unix.O_TMPFILE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "open with O_TMPFILE", Path: dir, Err: err}
	}
	path := filepath.Join(dir, filePrefix+rand.Text()[:textLen])
	f := &file{f: os.NewFile(uintptr(fd), path), path: path}
	defer func() {
		if err != nil {
			_ = f.f.Close() // the file has no name, so the kernel deletes it
		}
	}()
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("locking a file in %s: %w", dir, err)
	}
	// If the disk had no room for a page, a write to the mapping would be a fault.
	if err := unix.Fallocate(fd, 0, 0, int64(size)); err != nil {
		return nil, fmt.Errorf("allocating %d octets in %s: %w", size, dir, err)
	}
	mem, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping a file in %s: %w", dir, err)
	}
	copy(mem, header(size, newSalt(), bootID))
	f.layout(mem)
	if err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW); err != nil {
		return nil, errors.Join(fmt.Errorf("naming a file in %s: %w", dir, err), unix.Munmap(mem))
	}
	return f, nil
}

// isName reports whether createFile gives names such as name.
func isName(name string) bool {
	text, ok := strings.CutPrefix(name, filePrefix)
	return ok && len(text) == textLen && strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

// load maps f, another process's file. The error is a wrong if no process will ever be able to use f.
func (f *file) load(bootID string) error {
	size, err := checkFile(f.f)
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	start := make([]byte, sumAt+4)
	if _, err := f.f.ReadAt(start, 0); err != nil {
		return fmt.Errorf("reading %s: %w", f.path, err)
	}
	if err := checkHeader(start, size, bootID); err != nil {
		return fmt.Errorf("%s: %w", f.path, wrong{err})
	}
	mem, err := unix.Mmap(int(f.f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mapping %s: %w", f.path, err)
	}
	f.layout(mem)
	return nil
}

// wrong is a fault of a file itself. Other errors are faults of the process that reads the file, such as a lack of memory.
type wrong struct{ error }

// Unwrap returns the fault.
func (w wrong) Unwrap() error { return w.error }

// checkFile returns the size of f. It returns an error if another user can have written f.
func checkFile(f *os.File) (int, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, os.NewSyscallError("fstat", err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return 0, wrong{errors.New("is no regular file")}
	case int(st.Uid) != os.Geteuid():
		return 0, wrong{fmt.Errorf("belongs to user %d, not to %d", st.Uid, os.Geteuid())}
	case st.Mode&0o077 != 0:
		return 0, wrong{fmt.Errorf("has mode %#o: others than its owner can use it", st.Mode&0o777)}
	case st.Size < MinSize || st.Size > MaxSize:
		return 0, wrong{fmt.Errorf("has %d octets", st.Size)}
	}
	return int(st.Size), nil
}

// checkHeader returns an error if b is not the header of a file of size octets and of this boot.
func checkHeader(b []byte, size int, bootID string) error {
	want := header(size, binary.LittleEndian.Uint64(b[48:]), bootID)
	switch {
	case bytes.Equal(b, want):
		return nil
	case !bytes.Equal(b[:32], want[:32]):
		return errors.New("is no file of keep")
	case crc32.Checksum(b[:sumAt], castagnoli) != binary.LittleEndian.Uint32(b[sumAt:]):
		return errors.New("is damaged: its header has another checksum")
	case !bytes.Equal(b[32:36], want[32:36]):
		return fmt.Errorf("has format %d, not %d", binary.LittleEndian.Uint32(b[32:]), Format)
	case !bytes.Equal(b[40:48], want[40:48]):
		return fmt.Errorf("has %d octets, its header says %d", size, binary.LittleEndian.Uint64(b[40:]))
	}
	return errOtherBoot
}

// errOtherBoot is usual after a reboot if the directory is not on tmpfs.
var errOtherBoot = errors.New("is of another boot of the kernel")

// abandoned reports whether the process that made f has ended. If so, this process holds the lock of f from now on.
func (f *file) abandoned() bool {
	return unix.Flock(int(f.f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}

// contains reports whether addr is in the mapping.
func (f *file) contains(addr uintptr) bool {
	start := uintptr(unsafe.Pointer(unsafe.SliceData(f.mem)))
	return addr >= start && addr < start+uintptr(len(f.mem))
}

// close ends the mapping and the lock. The file stays on disk.
func (f *file) close() error {
	var err error
	if f.mem != nil {
		err = unix.Munmap(f.mem)
	}
	if f.f != nil {
		err = errors.Join(err, f.f.Close())
	}
	*f = file{path: f.path}
	return err
}

// remove deletes the file from disk and closes f.
func (f *file) remove() error {
	var err error
	if f.f != nil {
		if err = os.Remove(f.path); errors.Is(err, os.ErrNotExist) {
			err = nil // another process has removed it
		}
	}
	return errors.Join(err, f.close())
}

func newSalt() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return binary.LittleEndian.Uint64(b[:]) | 1<<32 | 1
}

// checkDir makes dir if there is none. It returns an error if another user can write to dir.
func checkDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: dir, Err: err}
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("%s is no directory", dir)
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to user %d", dir, st.Uid)
	case st.Mode&0o022 != 0:
		return fmt.Errorf("%s has mode %#o: others than its owner can write there", dir, st.Mode&0o7777)
	}
	return nil
}

// readBootID returns the id of this boot, 36 characters.
func readBootID() (string, error) {
	text, err := os.ReadFile(bootIDFile)
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(text))
	if len(id) != sumAt-56 {
		return "", fmt.Errorf("reading %s: got %q, want 36 characters", bootIDFile, id)
	}
	return id, nil
}
