// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"strings"
)

// unpack returns all files of the packages. It downloads the packages that the
// cache does not have.
func unpack(pkgs []pkg, cache, arch string) (tree, error) {
	if err := fetch(pkgs, cache, arch); err != nil {
		return nil, err
	}
	pool := tree{}
	for _, p := range pkgs {
		b, err := checkedFile(cachedFile(cache, p), p)
		if err == nil {
			err = pool.addDeb(b)
		}
		if err != nil {
			return nil, fmt.Errorf("unpacking %s: %w", p, err)
		}
	}
	return pool, nil
}

// addDeb adds the files of a package. It runs dpkg-deb, which is installed
// wherever apt is, and knows each compression that Debian uses.
func (t tree) addDeb(deb []byte) error {
	cmd := exec.Command("dpkg-deb", "--fsys-tarfile", "/dev/stdin")
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(deb), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running dpkg-deb: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return t.addTar(&stdout)
}

func (t tree) addTar(r io.Reader) error {
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		e, ok := entry{mode: h.FileInfo().Mode(), target: h.Linkname}, true
		switch h.Typeflag {
		case tar.TypeReg:
			e.data, err = io.ReadAll(tr)
		case tar.TypeLink: // the second name of a file becomes a copy of it
			e, ok = t[usrMerged(cleanPath(h.Linkname))]
		case tar.TypeDir, tar.TypeSymlink:
		default:
			ok = false
		}
		if err != nil || !ok {
			return errors.Join(err, fmt.Errorf("%s: not a file, directory or link", h.Name))
		}
		if p := usrMerged(cleanPath(h.Name)); p != "" {
			t[p] = e
		}
	}
}

// mergedDirs are links into /usr in each Debian since 12. Debian's packages
// still have files below the short names.
var mergedDirs = []string{"bin", "lib", "lib64", "sbin"}

func usrMerged(p string) string {
	for _, dir := range mergedDirs {
		if strings.HasPrefix(p, dir+"/") || p == dir {
			return "usr/" + p
		}
	}
	return p
}

// follow follows the links from p. It returns the file or directory at the end
// and all paths on the way.
func (t tree) follow(p string) (e entry, paths []string, err error) {
	for range 8 {
		e, ok := t[p]
		if !ok {
			return e, nil, fmt.Errorf("/%s: %w", p, fs.ErrNotExist)
		}
		paths = append(paths, p)
		if e.mode&fs.ModeSymlink == 0 {
			return e, paths, nil
		}
		p = resolve(p, e.target)
	}
	return e, nil, fmt.Errorf("/%s: too many links", paths[0])
}
