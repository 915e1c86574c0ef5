// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// replaceFile makes text the content of the file at path, with that mode, in one
// step, so that nobody reads half of it. A file that has this content is not
// touched.
func replaceFile(path string, text []byte, mode fs.FileMode) error {
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

// swap gives path the content text in one step: a new file beside it takes its name. finish sets the new file's mode and
// owner. Errors leave out the new file's name: it is random, so each message about the same trouble would be another one.
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
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	if e := (*os.LinkError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}
