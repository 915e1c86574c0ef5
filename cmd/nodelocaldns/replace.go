// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
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
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		if e := (*fs.PathError)(nil); errors.As(err, &e) {
			err = e.Err // without the temporary name, with which each message would be another
		}
		return fmt.Errorf("creating a file beside %s: %w", path, err)
	}
	_, err = temp.Write(text)
	err = errors.Join(err, temp.Chmod(mode), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temp.Name()) // the error before it tells more
	}
	return err
}
