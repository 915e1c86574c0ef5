// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// patience is how long the kernel may take to end the processes of two nodes.
const patience = 30 * time.Second

// janitor waits until its standard input ends, as it does with the process at its other end, and removes what that one
// cannot when it is killed: the directory, and the cgroups whose names begin with the prefix.
func janitor(dir, prefix string) error {
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	deadline := time.Now().Add(patience)
	for {
		err := removeCgroups(prefix)
		if err == nil || time.Now().After(deadline) {
			return errors.Join(err, os.RemoveAll(dir))
		}
		time.Sleep(50 * time.Millisecond) // a cgroup does not say when its last process is gone
	}
}

func removeCgroups(prefix string) error {
	var all []error
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		tops, err := filepath.Glob(pattern + prefix + "-*")
		if err != nil {
			return err
		}
		for _, top := range tops {
			all = append(all, removeCgroup(top))
		}
	}
	return errors.Join(all...)
}

// removeCgroup removes the directories of a cgroup, the inner ones first. Their files go by themselves.
func removeCgroup(top string) error {
	var dirs []string
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	slices.Reverse(dirs)
	for _, dir := range dirs {
		if err := os.Remove(dir); err != nil {
			return fmt.Errorf("removing the cgroup: %w", err)
		}
	}
	return nil
}
