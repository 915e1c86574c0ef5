// SPDX-License-Identifier: Apache-2.0

// Image builds a container image from files and pinned Debian packages, without
// a daemon and without running anything of the image, so an image for another
// architecture is built like one for this. The same inputs give the same bytes.
//
// The archive is an OCI layout that docker can load too:
//
//	go run . -o out.tar -name example.org/probe:1 -arch arm64 -file /path/to/bin=/probe -entrypoint /probe
//
// Archives of images for several architectures become one image index:
//
//	go run . -o index.tar -name example.org/probe:1 -index amd64.tar -index arm64.tar
//
// `make image` has the flags for the image of nodelocaldns, `make release` those for its index.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout io.Writer) error {
	o, err := parseOptions(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if o.updateLock {
		return updateLock(o.debs, o.cache)
	}
	if len(o.index) > 0 {
		return writeIndex(o, stdout)
	}
	c, err := gather(o)
	if err != nil {
		return err
	}
	if o.rootfs != "" {
		if err := c.all().writeDir(o.rootfs); err != nil {
			return err
		}
	}
	if o.sbom != "" {
		if err := writeSBOM(o, c.packages); err != nil {
			return err
		}
	}
	if o.out == "" {
		return nil
	}
	return writeImage(o, c, stdout)
}

// content is what goes into an image: a layer of Debian's files, which seldom
// change, and a layer of our own files.
type content struct {
	packages    []pkg
	debian, own tree
}

// all is the files of both layers.
func (c content) all() tree {
	all := maps.Clone(c.own)
	maps.Copy(all, c.debian)
	return all
}

func gather(o options) (c content, err error) {
	c.own = tree{}
	if o.debs != "" {
		if c.packages, err = readLock(o.debs, o.arch); err != nil {
			return c, err
		}
		pool, err := unpack(c.packages, o.cache, o.arch)
		if err != nil {
			return c, err
		}
		if c.debian, err = selectFiles(pool, o.arch, o.take); err != nil {
			return c, fmt.Errorf("selecting files of the packages in %s: %w", o.debs, err)
		}
	}
	for _, f := range o.files {
		e, err := readFile(f.from)
		if err != nil {
			return c, err
		}
		if err := c.addOwn(f.to, e); err != nil {
			return c, err
		}
	}
	for _, l := range o.links {
		if err := c.addOwn(l.to, link(l.from)); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (c content) addOwn(path string, e entry) error {
	path = cleanPath(path)
	if c.debian != nil {
		path = usrMerged(path)
	}
	if _, ok := c.all()[path]; ok {
		return fmt.Errorf("adding /%s: it is there already", path)
	}
	c.own.add(path, e)
	return nil
}
