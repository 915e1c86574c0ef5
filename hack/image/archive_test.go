// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func readAll(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// archiveOf returns the files of an archive.
func archiveOf(t *testing.T, name string) tree {
	t.Helper()
	files := tree{}
	if err := files.addTar(bytes.NewReader(readAll(t, name))); err != nil {
		t.Fatal(err)
	}
	return files
}

// layersOf returns the layers of an archive as tar files, as docker would find them.
func layersOf(t *testing.T, name string) (layers [][]byte) {
	t.Helper()
	files := archiveOf(t, name)
	var manifests []struct{ Layers []string }
	if err := json.Unmarshal(files["manifest.json"].data, &manifests); err != nil {
		t.Fatal(err)
	}
	for _, path := range manifests[0].Layers {
		r, err := gzip.NewReader(bytes.NewReader(files[path].data))
		if err != nil {
			t.Fatal(err)
		}
		layer, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, layer)
	}
	return layers
}

func TestArchiveIsALayout(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out.tar")
	said := mustRun(t, "-o", out, "-name", "e2e.local:5000/probe:v1", "-arch", "arm64", "-file", write(t, "bin", "program", 0o755)+"=/probe")
	files := archiveOf(t, out)
	if err := files.writeDir(filepath.Join(dir, "layout")); err != nil {
		t.Fatal(err)
	}
	index, err := layout.ImageIndexFromPath(filepath.Join(dir, "layout"))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	m, err := index.IndexManifest()
	if err != nil || len(m.Manifests) != 1 {
		t.Fatalf("got %v, %v", m, err)
	}
	d := m.Manifests[0]
	if !d.Platform.Equals(v1.Platform{OS: "linux", Architecture: "arm64"}) || !strings.Contains(said, d.Digest.String()) {
		t.Errorf("got %v, said %s", d, said)
	}
	for key, want := range map[string]string{"io.containerd.image.name": "e2e.local:5000/probe:v1", "org.opencontainers.image.ref.name": "v1"} {
		if d.Annotations[key] != want {
			t.Errorf("%s: got %q, want %q", key, d.Annotations[key], want)
		}
	}
	blobs := 0
	for p, e := range files {
		if hex, ok := strings.CutPrefix(p, "blobs/sha256/"); ok {
			blobs++
			if got := fmt.Sprintf("%x", sha256.Sum256(e.data)); got != hex {
				t.Errorf("%s has sha256 %s", p, got)
			}
		}
	}
	if blobs != 3 {
		t.Errorf("%d blobs, want manifest, configuration and layer", blobs)
	}
}
