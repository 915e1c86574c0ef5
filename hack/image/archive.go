// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// archiveFiles returns the files of an archive: an OCI image layout, and the
// manifest.json that docker reads, which names the same blobs.
func archiveFiles(img v1.Image, ref string) (t tree, err error) {
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	docker, err := dockerManifest(img, ref)
	if err != nil {
		return nil, err
	}
	t, err = layoutFiles(func(p layout.Path) error {
		return p.AppendImage(img, layout.WithPlatform(*config.Platform()), named(ref))
	})
	if err != nil {
		return nil, err
	}
	t.add("manifest.json", file(docker))
	return t, nil
}

// layoutFiles returns the files of an OCI image layout that has what add puts into it.
func layoutFiles(add func(layout.Path) error) (t tree, err error) {
	dir, err := os.MkdirTemp("", "image-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		return nil, err
	}
	if err := add(p); err != nil {
		return nil, err
	}
	t = tree{}
	return t, t.addDir(dir)
}

// named gives a layout's image or index its name.
func named(ref string) layout.Option {
	return layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          ref, // containerd takes the image's name from its own annotation
		"org.opencontainers.image.ref.name": ref[strings.LastIndex(ref, ":")+1:],
	})
}

// dockerManifest is manifest.json. The package tarball would name each layer by
// a path of its own, outside the layout.
func dockerManifest(img v1.Image, ref string) ([]byte, error) {
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	blob := func(d v1.Descriptor) string { return "blobs/" + d.Digest.Algorithm + "/" + d.Digest.Hex }
	var layers []string
	for _, l := range m.Layers {
		layers = append(layers, blob(l))
	}
	return json.Marshal([]map[string]any{{"Config": blob(m.Config), "RepoTags": []string{ref}, "Layers": layers}})
}

// addDir adds the files below a directory.
func (t tree) addDir(dir string) error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		t.add(strings.TrimPrefix(path, dir+"/"), file(data))
		return err
	})
}

// writeArchive leaves no half of an archive behind.
func writeArchive(t tree, name string) error {
	tmp := name + ".tmp"
	f, err := os.Create(tmp)
	if err != nil {
		return err
	}
	err = t.writeTar(f)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(tmp, name)
	}
	if err != nil {
		os.Remove(tmp)
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}
