// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"fmt"
	golog "log"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// capture runs f, and collects what it logs.
func capture(to *bytes.Buffer, f func()) {
	golog.SetOutput(to)
	defer golog.SetOutput(os.Stderr)
	f()
}

func quiet(f func()) { capture(new(bytes.Buffer), f) }

func TestADirectoryThatCannotBeUsed(t *testing.T) {
	for name, make := range map[string]func(dir string) error{
		"others than its owner can write": func(dir string) error { return os.Chmod(dir, 0o777) },
		"belongs to user 12345":           func(dir string) error { return os.Chown(dir, 12345, 0) },
		"not a directory":                 func(dir string) error { return replace(dir, func() error { return os.WriteFile(dir, nil, 0o600) }) },
		"no directory":                    func(dir string) error { return replace(dir, func() error { return os.Symlink("/dev/shm", dir) }) },
		"no space left":                   func(dir string) error { return unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=700") },
		"read-only file system":           func(dir string) error { return unix.Mount("tmpfs", dir, "tmpfs", unix.MS_RDONLY, "mode=700") },
	} {
		t.Run(name, func(t *testing.T) {
			if os.Geteuid() != 0 {
				t.Skip("needs root: another owner, a mount")
			}
			dir := filepath.Join(t.TempDir(), "state")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			said := logged(t, func() {
				inOwnMounts(t, func() {
					if err := make(dir); err != nil {
						t.Error(err)
						return
					}
					s := newStore(t, dir, MinSize)
					s.Put(sample("a.test.", "192.0.2.1", Boottime()))
					if got := answerOf(s, "a.test."); got != "192.0.2.1" {
						t.Errorf("%q", got)
					}
				})
			})
			if strings.Count(said, "\n") != 1 || !strings.Contains(said, "in memory only") || !strings.Contains(said, name) {
				t.Errorf("%s", said)
			}
		})
	}
}

// TestAFullDirectory uses a tmpfs with room for one file. Another process has made that file.
func TestAFullDirectory(t *testing.T) {
	for _, alive := range []bool{false, true} {
		t.Run(fmt.Sprintf("alive %v", alive), func(t *testing.T) {
			if os.Geteuid() != 0 {
				t.Skip("needs root: a mount")
			}
			dir := t.TempDir()
			said := logged(t, func() {
				inOwnMounts(t, func() {
					if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=400k,mode=700"); err != nil {
						t.Error(err)
						return
					}
					first := newStore(t, dir, MinSize)
					first.Put(sample("a.test.", "192.0.2.1", Boottime()))
					if !alive {
						end(first)
					}
					before := recovered()
					next := newStore(t, dir, MinSize)
					if got := answerOf(next, "a.test."); got != "192.0.2.1" || recovered()-before != 1 {
						t.Errorf("%q, %d recovered", got, recovered()-before)
					}
					if n := filesIn(t, dir); n != 1 || (next.own.f != nil) == alive || len(next.peers) == 1 != alive {
						t.Errorf("%d files, %d peers, own file: %v", n, len(next.peers), next.own.f != nil)
					}
					// What it knows is in its file, and what the other one learns is known.
					if !alive {
						end(next)
						next = newStore(t, dir, MinSize)
					} else {
						first.Put(sample("a.test.", "192.0.2.2", Boottime()))
					}
					if got := answerOf(next, "a.test."); got != map[bool]string{false: "192.0.2.1", true: "192.0.2.2"}[alive] {
						t.Errorf("later: %q", got)
					}
				})
			})
			if n := strings.Count(said, "\n"); alive && (n != 1 || !strings.Contains(said, "no space left")) || !alive && n != 0 {
				t.Errorf("%s", said)
			}
		})
	}
}

func replace(dir string, with func() error) error {
	if err := os.Remove(dir); err != nil {
		return err
	}
	return with()
}

func TestADirectoryIsMade(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run", "state")
	s := newStore(t, dir, MinSize)
	info, err := os.Stat(s.own.path)
	if err != nil || info.Mode() != 0o600 || info.Size() != MinSize {
		t.Errorf("%v, %v", info, err)
	}
	if info, _ := os.Stat(dir); info.Mode().Perm() != 0o700 {
		t.Error(info.Mode())
	}
}

// TestFilesThatAreNotUsed spoils the file of an ended process in several ways.
func TestFilesThatAreNotUsed(t *testing.T) {
	for want, spoil := range map[string]func(path string) error{
		"":                   func(string) error { return nil },
		"others than":        func(path string) error { return os.Chmod(path, 0o640) },
		"belongs to user":    func(path string) error { return os.Chown(path, 12345, 0) },
		"symbolic links":     func(path string) error { return moved(path, func(to string) error { return os.Symlink(to, path) }) },
		"no regular file":    func(path string) error { return moved(path, func(string) error { return unix.Mkfifo(path, 0o600) }) },
		"its header says":    func(path string) error { return os.Truncate(path, MinSize+4096) },
		"has 100 octets":     func(path string) error { return os.Truncate(path, 100) },
		"is no file of keep": func(path string) error { return written(path, 0, "x") },
		"another checksum":   func(path string) error { return written(path, 60, "x") },
		"has format 2":       func(path string) error { return rewritten(path, func(b []byte) { b[32] = 2 }) },
		"nothing is said":    func(path string) error { return rewritten(path, func(b []byte) { b[60] ^= 1 }) }, // of another boot
	} {
		t.Run(want, func(t *testing.T) {
			if os.Geteuid() != 0 {
				t.Skip("needs root: another owner")
			}
			dir := t.TempDir()
			s := newStore(t, dir, MinSize)
			s.Put(sample("a.test.", "192.0.2.1", Boottime()))
			path := s.own.path
			end(s)
			if err := spoil(path); err != nil {
				t.Fatal(err)
			}
			said := logged(t, func() {
				next := newStore(t, dir, MinSize)
				if got := answerOf(next, "a.test."); (got != "") != (want == "") {
					t.Errorf("%q", got)
				}
			})
			files := 1
			if want == "symbolic links" { // which cannot be opened, so that nobody knows what it is
				files = 2
			}
			if n := filesIn(t, dir); n != files {
				t.Errorf("%d files", n)
			}
			if silent := want == "" || want == "nothing is said"; silent && said != "" || !silent && (strings.Count(said, "\n") != 1 || !strings.Contains(said, want)) {
				t.Errorf("%s", said)
			}
		})
	}
}

// TestFilesOfOthersAreLeft has files with names that keep does not give.
func TestFilesOfOthersAreLeft(t *testing.T) {
	dir := t.TempDir()
	names := []string{"keep-", "keep-notes.txt", "keep-" + strings.Repeat("A", 25), "keep-" + strings.Repeat("a", 26), "keep-" + strings.Repeat("1", 26), strings.Repeat("A", 31)}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("dear diary"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	said := logged(t, func() { newStore(t, dir, MinSize) })
	if n := filesIn(t, dir); n != len(names)+1 || said != "" {
		t.Errorf("%d files, %s", n, said)
	}
}

// TestTheFileOfALivingProcessIsLeft spoils the file of a running process: such a file may belong to another version of keep.
func TestTheFileOfALivingProcessIsLeft(t *testing.T) {
	for want, spoil := range map[string]func(path string) error{
		"others than":  func(path string) error { return os.Chmod(path, 0o640) },
		"has format 9": func(path string) error { return rewritten(path, func(b []byte) { b[32] = 9 }) },
	} {
		dir := t.TempDir()
		s := newStore(t, dir, MinSize)
		if err := spoil(s.own.path); err != nil {
			t.Fatal(err)
		}
		said := logged(t, func() { newStore(t, dir, MinSize) })
		if n := filesIn(t, dir); n != 2 || strings.Count(said, "\n") != 1 || !strings.Contains(said, want) {
			t.Errorf("%d files, %s", n, said)
		}
	}
}

// TestAFileThatCannotBeMappedNowIsLeft starts a process without address space: the next process may have it.
func TestAFileThatCannotBeMappedNowIsLeft(t *testing.T) {
	dir := t.TempDir()
	id, err := readBootID()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, filePrefix+strings.Repeat("A", textLen))
	if err := os.WriteFile(path, header(MaxSize, 1, id), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, MaxSize); err != nil { // it takes no room
		t.Fatal(err)
	}
	var pages, size uint64
	text, _ := os.ReadFile("/proc/self/statm")
	if _, err := fmt.Sscan(string(text), &pages); err != nil {
		t.Fatal(err)
	}
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_AS, &before); err != nil {
		t.Fatal(err)
	}
	size = pages*uint64(os.Getpagesize()) + MaxSize/2
	if err := unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: size, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	said := logged(t, func() { newStore(t, dir, MinSize) })
	if err := unix.Setrlimit(unix.RLIMIT_AS, &before); err != nil {
		t.Fatal(err)
	}
	if n := filesIn(t, dir); n != 2 || strings.Count(said, "\n") != 1 || !strings.Contains(said, "cannot allocate memory") {
		t.Errorf("%d files, %s", n, said)
	}
}

func moved(path string, then func(to string) error) error {
	to := filepath.Join(filepath.Dir(filepath.Dir(path)), "elsewhere-"+filepath.Base(path))
	if err := os.Rename(path, to); err != nil {
		return err
	}
	return then(to)
}

func written(path string, at int64, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt([]byte(text), at)
	return err
}

// rewritten changes a header, and gives it the right checksum.
func rewritten(path string, change func([]byte)) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	change(b)
	sign(b)
	return os.WriteFile(path, b, 0o600)
}
