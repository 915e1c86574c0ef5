// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io/fs"
	"slices"
)

// sources is the tree without what is no source.
type sources struct{ fs.FS }

// ReadDir implements fs.ReadDirFS.
func (s sources) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(s.FS, name)
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		return name == "." && (e.Name() == ".git" || e.Name() == "bin")
	}), err
}
