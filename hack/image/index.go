// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// writeIndex writes an archive with one image index, which has the images of
// the archives in o.index in their order. It prints the name, digest and size
// of the index, and the platform and digest of each image.
func writeIndex(o options, stdout io.Writer) error {
	dir, err := os.MkdirTemp("", "index-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for i, archive := range o.index {
		if index, err = appendArchive(index, archive, filepath.Join(dir, fmt.Sprint(i))); err != nil {
			return fmt.Errorf("adding %s to the index: %w", archive, err)
		}
	}
	files, err := layoutFiles(func(p layout.Path) error { return p.AppendIndex(index, named(o.name)) })
	if err != nil {
		return fmt.Errorf("building %s: %w", o.name, err)
	}
	if err := writeArchive(files, o.out); err != nil {
		return err
	}
	return printIndex(o, index, stdout)
}

// appendArchive adds the images of an archive, which it unpacks into the new
// directory dir.
func appendArchive(index v1.ImageIndex, archive, dir string) (v1.ImageIndex, error) {
	data, err := os.ReadFile(archive)
	if err != nil {
		return nil, err
	}
	files := tree{}
	if err := files.addTar(bytes.NewReader(data)); err != nil {
		return nil, err
	}
	if err := files.writeDir(dir); err != nil {
		return nil, err
	}
	have, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	m, err := have.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, d := range m.Manifests {
		if err := platformIsNew(index, d.Platform); err != nil {
			return nil, err
		}
		img, err := have.Image(d.Digest)
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: d.Platform}})
	}
	return index, nil
}

// platformIsNew returns an error if a node of platform p would find two images.
func platformIsNew(index v1.ImageIndex, p *v1.Platform) error {
	m, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, d := range m.Manifests {
		if d.Platform.Equals(*p) {
			return fmt.Errorf("an image for %s is there already", p)
		}
	}
	return nil
}

func printIndex(o options, index v1.ImageIndex, stdout io.Writer) error {
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	info, err := os.Stat(o.out)
	if err != nil {
		return err
	}
	m, err := index.IndexManifest()
	if err != nil {
		return err
	}
	said := fmt.Sprintf("%s %s: %.1f MB, in %s\n", o.name, digest, float64(info.Size())/1e6, o.out)
	for _, d := range m.Manifests {
		said += fmt.Sprintf("  %s %s\n", d.Platform, d.Digest)
	}
	_, err = io.WriteString(stdout, said)
	return err
}
