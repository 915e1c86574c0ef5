// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// archiveFiles returns the files of an archive: an OCI image layout, and the
// manifest.json that docker reads, which names the same blobs.
func archiveFiles(img v1.Image, ref string) (tree, error) {
	t := tree{}
	t.add("oci-layout", file([]byte(`{"imageLayoutVersion":"1.0.0"}`)))
	layers, err := addBlobs(t, img)
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigName()
	if err != nil {
		return nil, err
	}
	index, err := indexOf(img, ref)
	if err != nil {
		return nil, err
	}
	docker := []map[string]any{{"Config": blobPath(config), "RepoTags": []string{ref}, "Layers": layers}}
	for name, v := range map[string]any{"index.json": index, "manifest.json": docker} {
		b, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		t.add(name, file(b))
	}
	return t, nil
}

func blobPath(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

// addBlobs adds manifest, configuration and layers, and returns the layers' paths.
func addBlobs(t tree, img v1.Image) (layerPaths []string, err error) {
	manifest, err := img.RawManifest()
	if err != nil {
		return nil, err
	}
	digest, err := img.Digest()
	if err != nil {
		return nil, err
	}
	t.add(blobPath(digest), file(manifest))
	config, err := img.RawConfigFile()
	if err != nil {
		return nil, err
	}
	name, err := img.ConfigName()
	if err != nil {
		return nil, err
	}
	t.add(blobPath(name), file(config))
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	for _, l := range layers {
		digest, data, err := compressed(l)
		if err != nil {
			return nil, err
		}
		t.add(blobPath(digest), file(data))
		layerPaths = append(layerPaths, blobPath(digest))
	}
	return layerPaths, nil
}

func compressed(l v1.Layer) (v1.Hash, []byte, error) {
	digest, err := l.Digest()
	if err != nil {
		return digest, nil, err
	}
	r, err := l.Compressed()
	if err != nil {
		return digest, nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	return digest, data, err
}

// indexOf is index.json. containerd takes the image's name from an annotation of its own.
func indexOf(img v1.Image, ref string) (v1.IndexManifest, error) {
	digest, err := img.Digest()
	if err != nil {
		return v1.IndexManifest{}, err
	}
	size, err := img.Size()
	if err != nil {
		return v1.IndexManifest{}, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return v1.IndexManifest{}, err
	}
	return v1.IndexManifest{
		SchemaVersion: 2,
		MediaType:     types.OCIImageIndex,
		Manifests: []v1.Descriptor{{
			MediaType: types.OCIManifestSchema1,
			Digest:    digest,
			Size:      size,
			Platform:  config.Platform(),
			Annotations: map[string]string{
				"io.containerd.image.name":          ref,
				"org.opencontainers.image.ref.name": ref[strings.LastIndex(ref, ":")+1:],
			},
		}},
	}, nil
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
