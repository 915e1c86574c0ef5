// SPDX-License-Identifier: Apache-2.0

// Package atomicfile replaces the content of files in one step, so that nobody reads half of it.
package atomicfile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Replace makes text the content of the file at path, with that mode. A file that has this content is not touched. Anything but
// a regular file is an error.
func Replace(path string, text []byte, mode fs.FileMode) error {
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		// The rename would take the place of a device, or of a ConfigMap's link.
		return fmt.Errorf("%s is not a regular file", path)
	}
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return nil
	}
	return swap(path, text, func(f *os.File) error { return f.Chmod(mode) })
}

// swap makes text the content of path in one step: a new file beside path takes its name. finish sets mode and owner of the new
// file. Errors leave out the name of the new file, which is random, so that the same trouble has the same message.
func swap(path string, text []byte, finish func(*os.File) error) error {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("creating a file beside %s: %w", path, cause(err))
	}
	_, err = temp.Write(text)
	err = cmp.Or(err, finish(temp), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temp.Name()) // the error before it tells more
		return fmt.Errorf("writing a file beside %s: %w", path, cause(err))
	}
	return nil
}

// cause returns what happened to a file, without its name.
func cause(err error) error {
	if e := syscall.Errno(0); errors.As(err, &e) {
		return e
	}
	return err
}

// Edit makes text the content of the file at path, which must exist. Owner and mode stay. It reports whether there was anything
// to do.
func Edit(path string, text []byte) (changed bool, err error) {
	old, err := os.ReadFile(path)
	if err != nil || string(old) == string(text) {
		return false, err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() {
		return false, fmt.Errorf("%s is not a regular file: name the file that it stands for", path)
	}
	err = swap(path, text, func(f *os.File) error {
		return cmp.Or(f.Chmod(info.Mode().Perm()), chownLike(f, info), f.Sync())
	})
	return err == nil, err
}

// chownLike gives f the owner of another file, for which the right is missing in a container; there both are root's.
func chownLike(f *os.File, info os.FileInfo) error {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(s.Uid) == os.Geteuid() && int(s.Gid) == os.Getegid() {
		return nil
	}
	return f.Chown(int(s.Uid), int(s.Gid))
}
