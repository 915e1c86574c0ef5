// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
)

// options is the command line.
type options struct {
	out, rootfs, sbom string
	name, arch        string
	entrypoint        string
	files, links      []pair // from: file or target of the link; to: path in the image
	labels            map[string]string
	index             []string // archives of images
	take              []string // patterns of files in the packages
	debs, cache       string
	updateLock        bool
	maxMB             int
	created           time.Time
}

type pair struct{ from, to string }

func parseOptions(args []string) (options, error) {
	o := options{labels: map[string]string{}}
	fs := flag.NewFlagSet("image", flag.ContinueOnError)
	fs.StringVar(&o.out, "o", "", "write the image to this `archive`")
	fs.StringVar(&o.rootfs, "rootfs", "", "write the image's files to this new `directory`")
	fs.StringVar(&o.sbom, "sbom", "", "write a CycloneDX bill of materials to this `file`")
	fs.StringVar(&o.name, "name", "", "`reference` of the image in the archive")
	fs.StringVar(&o.arch, "arch", runtime.GOARCH, "`architecture`: amd64 or arm64")
	fs.StringVar(&o.entrypoint, "entrypoint", "", "`path` of the command in the image")
	fs.Func("file", "put the file SRC at DST: `SRC=DST`, repeatable", appendPair(&o.files))
	fs.Func("link", "put a symbolic link at DST: `TARGET=DST`, repeatable", appendPair(&o.links))
	fs.Func("label", "label of the image: `KEY=VALUE`, repeatable", o.addLabel)
	fs.Func("index", "write an index of this `archive`'s image and of those of the other -index, repeatable", func(s string) error {
		o.index = append(o.index, s)
		return nil
	})
	fs.StringVar(&o.debs, "debs", "", "add iptables and CA certificates from the packages that this `lock` file pins, or what -take names")
	fs.Func("take", "add the files of the packages that match this `pattern`, and the libraries that they need, repeatable", o.addPattern)
	fs.StringVar(&o.cache, "cache", "cache", "`directory` for downloaded packages")
	fs.BoolVar(&o.updateLock, "update-lock", false, "pin in the lock file what apt's sources have now, and end")
	fs.IntVar(&o.maxMB, "max", 40, "fail if the image, unpacked, has more `MB`")
	fs.SetOutput(io.Discard) // main prints the error
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fs.SetOutput(os.Stdout)
			fs.PrintDefaults()
		}
		return o, err
	}
	return o, errors.Join(o.check(fs.Args()), o.setCreated(os.Getenv("SOURCE_DATE_EPOCH")))
}

func (o *options) check(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case o.debs == "" && (o.updateLock || len(o.take) > 0):
		return errors.New("-update-lock and -take need -debs")
	case o.updateLock:
		return nil
	case targets[o.arch].triplet == "":
		return fmt.Errorf("-arch %q: want amd64 or arm64", o.arch)
	case o.out == "" && o.rootfs == "" && o.sbom == "":
		return errors.New("nothing to do: want -o, -rootfs, -sbom or -update-lock")
	case len(o.index) > 0 && (o.out == "" || o.rootfs != "" || o.sbom != "" || len(o.files)+len(o.links) > 0 || o.debs != ""):
		return errors.New("-index takes its images from archives: want -o and -name beside it, and nothing else")
	case o.out == "":
		return nil
	}
	return o.checkName()
}

// checkName writes the name out in full: containerd compares names byte by byte.
func (o *options) checkName() error {
	tag, err := name.NewTag(o.name)
	if err != nil {
		return fmt.Errorf("-name: %w", err)
	}
	o.name = strings.TrimPrefix(tag.Name(), "index.") // index.docker.io is docker.io
	return nil
}

// setCreated follows https://reproducible-builds.org/specs/source-date-epoch/.
func (o *options) setCreated(epoch string) error {
	if epoch == "" {
		epoch = "0"
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return fmt.Errorf("reading SOURCE_DATE_EPOCH: %w", err)
	}
	o.created = time.Unix(seconds, 0).UTC()
	return nil
}

func (o *options) addPattern(s string) error {
	if _, err := path.Match(s, ""); err != nil {
		return err
	}
	o.take = append(o.take, s)
	return nil
}

func (o *options) addLabel(s string) error {
	key, value, ok := strings.Cut(s, "=")
	if !ok || key == "" {
		return errors.New("want KEY=VALUE")
	}
	o.labels[key] = value
	return nil
}

func appendPair(list *[]pair) func(string) error {
	return func(s string) error {
		i := strings.LastIndex(s, "=")
		if i <= 0 || !strings.HasPrefix(s[i+1:], "/") || cleanPath(s[i+1:]) == "" {
			return errors.New("want FROM=/PATH")
		}
		*list = append(*list, pair{s[:i], s[i+1:]})
		return nil
	}
}
