// SPDX-License-Identifier: Apache-2.0

// Package filewatch tells when files may have another content than before. The files, and the directories on the way to them,
// may be missing, replaced, or symbolic links, as in the volume of a ConfigMap.
package filewatch

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// quiet is how long nothing happens before Next returns: a file is often written in several steps.
	quiet = 100 * time.Millisecond
	// longest bounds that wait where something happens all the time.
	longest = time.Second
	// maxLinks bounds the symbolic links on the way to a file, as the kernel does (MAXSYMLINKS of linux/namei.h).
	maxLinks = 40

	// mask has a file that is written, and a name that comes or goes.
	mask = unix.IN_MODIFY | unix.IN_CLOSE_WRITE | unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO
)

// A Watcher watches files by inotify. It is for one goroutine, except for Close.
type Watcher struct {
	paths   []string
	inotify *os.File
	names   map[int32]map[string]bool // by the kernel's number of a watched directory: the names in it that count
}

// New returns a Watcher of the files at paths, which need not exist. An error says that the kernel has no inotify instance left
// for this user (fs.inotify.max_user_instances).
func New(paths ...string) (*Watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watching files: %w", err)
	}
	w := &Watcher{paths: paths, inotify: os.NewFile(uintptr(fd), "inotify")}
	if err := w.watch(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// Close ends Next, which returns an error then.
func (w *Watcher) Close() error { return w.inotify.Close() }

// Next waits until one of the files may have changed, and until nothing more has happened for a moment. What happens after New,
// or after Next has returned, is what the following call returns for. An error ends the watch.
func (w *Watcher) Next() error {
	for changed := false; !changed; {
		var err error
		if changed, err = w.read(time.Time{}); err != nil {
			return err
		}
	}
	for end := time.Now().Add(longest); time.Now().Before(end); {
		_, err := w.read(time.Now().Add(quiet))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		} else if err != nil {
			return err
		}
	}
	return w.watch() // before anybody looks at the files: what comes after that look is seen
}

// read waits for events, and reports whether one of them concerns the files.
func (w *Watcher) read(deadline time.Time) (changed bool, err error) {
	if err := w.inotify.SetReadDeadline(deadline); err != nil {
		return false, err
	}
	buffer := make([]byte, 64*(unix.SizeofInotifyEvent+unix.NAME_MAX+1))
	n, err := w.inotify.Read(buffer)
	if err != nil {
		return false, err
	}
	for rest := buffer[:n]; len(rest) >= unix.SizeofInotifyEvent; {
		e := (*unix.InotifyEvent)(unsafe.Pointer(&rest[0])) // struct inotify_event of inotify(7); the kernel aligns each
		end := unix.SizeofInotifyEvent + int(e.Len)
		name, _, _ := bytes.Cut(rest[unix.SizeofInotifyEvent:end], []byte{0})
		gone := e.Mask&unix.IN_IGNORED != 0 && w.names[e.Wd] != nil
		if w.names[e.Wd][string(name)] || gone || e.Mask&unix.IN_Q_OVERFLOW != 0 {
			changed = true
		}
		rest = rest[end:]
	}
	return changed, nil
}

// watch makes the kernel watch all directories in which a name is looked up on the way to one of the files, and no others.
func (w *Watcher) watch() (err error) {
	conn, err := w.inotify.SyscallConn()
	if err != nil {
		return err
	}
	if conn.Control(func(fd uintptr) { err = w.watchBy(int(fd)) }) != nil {
		return os.ErrClosed
	}
	return err
}

func (w *Watcher) watchBy(fd int) error {
	names := make(map[int32]map[string]bool)
	for _, path := range w.paths {
		for _, l := range lookups(path) {
			wd, err := unix.InotifyAddWatch(fd, l.dir, mask|unix.IN_ONLYDIR)
			if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.EACCES) {
				break // gone meanwhile, which is an event of the directory above it; or not for this user
			} else if err != nil {
				return fmt.Errorf("watching %s: %w", l.dir, err)
			}
			if names[int32(wd)] == nil {
				names[int32(wd)] = make(map[string]bool)
			}
			names[int32(wd)][l.name] = true
		}
	}
	for wd := range w.names {
		if names[wd] == nil {
			_, _ = unix.InotifyRmWatch(fd, uint32(wd)) // an error says that the kernel has removed it already
		}
	}
	w.names = names
	return nil
}

// A lookup is one step of the kernel on the way to a file.
type lookup struct{ dir, name string }

// lookups returns all steps to the file at path, up to the first that fails. A symbolic link is a step, and so are those of the
// path that it stands for.
func lookups(path string) (steps []lookup) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil // the working directory is gone
	}
	dir, rest, links := "/", strings.Split(path, "/"), 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			dir = filepath.Dir(dir)
			continue
		}
		steps = append(steps, lookup{dir, name})
		here := filepath.Join(dir, name)
		target, err := os.Readlink(here)
		switch {
		case errors.Is(err, unix.EINVAL): // no link
			dir = here
		case err != nil || links == maxLinks:
			return steps
		default:
			links++
			if filepath.IsAbs(target) {
				dir = "/"
			}
			rest = append(strings.Split(target, "/"), rest...)
		}
	}
	return steps
}
