// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const searchPath = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"

// writeImage writes the archive, and prints the name, digest and size of the
// image.
func writeImage(o options, c content, stdout io.Writer) error {
	img, unpacked, err := buildImage(o, c)
	if err != nil {
		return err
	}
	if unpacked > o.maxMB*1e6 {
		return fmt.Errorf("%s has %.1f MB unpacked, and may have %d (-max)", o.name, float64(unpacked)/1e6, o.maxMB)
	}
	files, err := archiveFiles(img, o.name)
	if err != nil {
		return fmt.Errorf("building %s: %w", o.name, err)
	}
	if err := writeArchive(files, o.out); err != nil {
		return err
	}
	digest, err := img.Digest()
	if err != nil {
		return err
	}
	info, err := os.Stat(o.out)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s %s: %.1f MB, unpacked %.1f MB, in %s\n", o.name, digest, float64(info.Size())/1e6, float64(unpacked)/1e6, o.out)
	return err
}

// buildImage returns the image and the size of its layers, unpacked.
func buildImage(o options, c content) (img v1.Image, unpacked int, err error) {
	img = mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if img, err = mutate.ConfigFile(img, configFile(o)); err != nil {
		return nil, 0, err
	}
	for _, part := range []struct {
		files tree
		from  string
	}{{c.debian, "packages of Debian"}, {c.own, "files"}} {
		if len(part.files) == 0 {
			continue
		}
		layer, size, err := layerOf(part.files)
		if err != nil {
			return nil, 0, err
		}
		unpacked += size
		history := v1.History{Created: v1.Time{Time: o.created}, CreatedBy: part.from}
		if img, err = mutate.Append(img, mutate.Addendum{Layer: layer, History: history}); err != nil {
			return nil, 0, err
		}
	}
	return img, unpacked, nil
}

func configFile(o options) *v1.ConfigFile {
	c := &v1.ConfigFile{
		Architecture: o.arch,
		OS:           "linux",
		Created:      v1.Time{Time: o.created},
		RootFS:       v1.RootFS{Type: "layers"},
		Config:       v1.Config{Env: []string{searchPath}, Labels: o.labels, WorkingDir: "/"},
	}
	if o.entrypoint != "" {
		c.Config.Entrypoint = []string{o.entrypoint}
	}
	return c
}

func layerOf(t tree) (l v1.Layer, size int, err error) {
	var b bytes.Buffer
	if err := t.writeTar(&b); err != nil {
		return nil, 0, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }
	l, err = tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer),
		tarball.WithCompressionLevel(gzip.DefaultCompression), tarball.WithCompressedCaching)
	return l, b.Len(), err
}
