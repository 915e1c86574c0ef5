// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

const indexName = "e2e.local:5000/probe:v1"

// archiveFor builds an image that has one file, and returns its archive.
func archiveFor(t *testing.T, arch string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), arch+".tar")
	mustRun(t, "-o", out, "-name", indexName, "-arch", arch, "-file", write(t, "bin", "program for "+arch, 0o755)+"=/probe")
	return out
}

func TestIndexHasEachArchitecture(t *testing.T) {
	amd64, arm64 := archiveFor(t, "amd64"), archiveFor(t, "arm64")
	dir := t.TempDir()
	out := filepath.Join(dir, "index.tar")
	said := mustRun(t, "-o", out, "-name", indexName, "-index", amd64, "-index", arm64)
	if err := archiveOf(t, out).writeDir(filepath.Join(dir, "layout")); err != nil {
		t.Fatal(err)
	}
	top, err := layout.ImageIndexFromPath(filepath.Join(dir, "layout"))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(top); err != nil {
		t.Error(err)
	}
	m, err := top.IndexManifest()
	if err != nil || len(m.Manifests) != 1 || m.Manifests[0].MediaType != types.OCIImageIndex || m.Manifests[0].Annotations["io.containerd.image.name"] != indexName {
		t.Fatalf("got %+v, %v; want one index", m, err)
	}
	index, err := top.ImageIndex(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if m, err = index.IndexManifest(); err != nil || len(m.Manifests) != 2 {
		t.Fatalf("got %+v, %v; want two images", m, err)
	}
	for i, archive := range []string{amd64, arm64} {
		d := m.Manifests[i]
		want := mustDescribe(t, archive)
		if got := d.Platform.String() + " " + d.Digest.String(); got != want || !strings.Contains(said, "  "+want+"\n") {
			t.Errorf("got %s, want %s; said %s", got, want, said)
		}
	}
	again := filepath.Join(dir, "again.tar")
	mustRun(t, "-o", again, "-name", indexName, "-index", amd64, "-index", arm64)
	if !bytes.Equal(readAll(t, out), readAll(t, again)) {
		t.Error("two builds differ")
	}
}

// mustDescribe returns platform and digest of the one image in an archive.
func mustDescribe(t *testing.T, archive string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	if err := archiveOf(t, archive).writeDir(dir); err != nil {
		t.Fatal(err)
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	return m.Manifests[0].Platform.String() + " " + m.Manifests[0].Digest.String()
}

func TestBadIndex(t *testing.T) {
	archive := archiveFor(t, "arm64")
	for args, want := range map[string]string{
		"-index " + archive: "nothing to do: want -o",
		"-o OUT -name x -sbom OUT.json -index " + archive:         "-index takes its images from archives",
		"-o OUT -name x -index /does/not/exist":                   "adding /does/not/exist to the index: ",
		"-o OUT -name x -index " + archive + " -index " + archive: "an image for linux/arm64 is there already",
	} {
		args = strings.ReplaceAll(args, "OUT", filepath.Join(t.TempDir(), "out"))
		if err := run(strings.Fields(args), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", args, err, want)
		}
	}
}
