// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A tree maps paths without a leading slash to files. Every file belongs to
// root, and its time is the epoch. So a tree does not depend on who builds it,
// and when.
type tree map[string]entry

// An entry is a directory, a regular file or a symbolic link.
type entry struct {
	mode   fs.FileMode
	target string // of a link
	data   []byte // of a file
}

var epoch = time.Unix(0, 0)

func directory(perm fs.FileMode) entry { return entry{mode: fs.ModeDir | perm} }
func link(target string) entry         { return entry{mode: fs.ModeSymlink | 0o777, target: target} }
func file(data []byte) entry           { return entry{mode: 0o644, data: data} }

// readFile reads a file. The entry's mode is 0755 if somebody may execute the
// file, else 0644.
func readFile(name string) (entry, error) {
	info, err := os.Stat(name)
	if err != nil {
		return entry{}, err
	}
	e := file(nil)
	if info.Mode()&0o111 != 0 {
		e.mode = 0o755
	}
	e.data, err = os.ReadFile(name)
	return e, err
}

func cleanPath(p string) string { return strings.TrimPrefix(path.Clean("/"+p), "/") }

// add puts e at p. Directories above p that do not exist get the mode 0755.
func (t tree) add(p string, e entry) {
	t[p] = e
	for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
		if _, ok := t[dir]; !ok {
			t[dir] = directory(0o755)
		}
	}
}

// sorted lists the paths, each directory before what is in it.
func (t tree) sorted() []string { return slices.Sorted(maps.Keys(t)) }

func (t tree) writeTar(w io.Writer) error {
	tw := tar.NewWriter(w)
	for _, p := range t.sorted() {
		e := t[p]
		h, err := tar.FileInfoHeader(e.info(p), e.target)
		if err != nil {
			return fmt.Errorf("adding %s to a layer: %w", p, err)
		}
		h.Name = strings.TrimPrefix(p, "/")
		if e.mode.IsDir() {
			h.Name += "/"
		}
		if err := writeEntry(tw, h, e.data); err != nil {
			return err
		}
	}
	return tw.Close()
}

func writeEntry(tw *tar.Writer, h *tar.Header, data []byte) error {
	err := tw.WriteHeader(h)
	if err == nil {
		_, err = tw.Write(data)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", h.Name, err)
	}
	return nil
}

// writeDir writes the tree to a directory that does not exist yet.
func (t tree) writeDir(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	paths := t.sorted()
	for _, p := range paths {
		if err := t[p].write(filepath.Join(dir, p)); err != nil {
			return err
		}
	}
	// The times are set last, and backwards, as a file that is put into a
	// directory changes the directory's time.
	for _, p := range slices.Backward(paths) {
		if t[p].mode&fs.ModeSymlink != 0 {
			continue // package os cannot set the time of a link
		}
		if err := os.Chtimes(filepath.Join(dir, p), epoch, epoch); err != nil {
			return err
		}
	}
	return nil
}

func (e entry) write(name string) error {
	switch {
	case e.mode&fs.ModeSymlink != 0:
		return os.Symlink(e.target, name)
	case e.mode.IsDir():
		if err := os.Mkdir(name, 0o700); err != nil {
			return err
		}
	default:
		if err := os.WriteFile(name, e.data, 0o600); err != nil {
			return err
		}
	}
	return os.Chmod(name, e.mode) // the umask may have taken bits from the mode
}

// info describes e as a file.
func (e entry) info(p string) fs.FileInfo { return fileInfo{e, path.Base(p)} }

type fileInfo struct {
	e    entry
	name string
}

func (f fileInfo) Name() string       { return f.name }
func (f fileInfo) Size() int64        { return int64(len(f.e.data)) }
func (f fileInfo) Mode() fs.FileMode  { return f.e.mode }
func (f fileInfo) ModTime() time.Time { return epoch }
func (f fileInfo) IsDir() bool        { return f.e.mode.IsDir() }
func (f fileInfo) Sys() any           { return nil }
