// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// The programs that hack/publish.sh finds: the real helm, and a cosign that notes what it would sign. Nothing is signed here, since
// cosign takes its identity from GitHub.
const (
	helmProgram   = "#!/bin/sh\nexec go run helm.sh/helm/v3/cmd/helm@v3.18.6 \"$@\"\n"
	cosignProgram = "#!/bin/sh\necho \"$@\" >>../../signed\n"
)

// TestPublish runs hack/publish.sh against a registry of its own, and compares what was pushed with what was built and signed.
func TestPublish(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	dir := t.TempDir()
	index, images := smallRelease(t, dir)
	programs := t.TempDir()
	write(t, filepath.Join(programs, "helm"), helmProgram, 0o755)
	write(t, filepath.Join(programs, "cosign"), cosignProgram, 0o755)

	c := exec.CommandContext(t.Context(), filepath.Join(dir, "hack", "publish.sh"), "v1.2.3", host)
	c.Env = append(os.Environ(), "PLAIN_HTTP=1", "PATH="+programs+":"+os.Getenv("PATH"))
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := pushed(t, server.URL, "nodelocaldns", "v1.2.3"); got != index {
		t.Errorf("the registry has index %s, want %s", got, index)
	}
	for _, digest := range images {
		if got := pushed(t, server.URL, "nodelocaldns", digest); got != digest {
			t.Errorf("the registry has image %q, want %s", got, digest)
		}
	}
	chart := pushed(t, server.URL, "charts/nodelocaldns", "1.2.3")
	want := "sign --yes --recursive " + host + "/nodelocaldns@" + index + "\n"
	for i, arch := range []string{"amd64", "arm64"} {
		want += "attest --yes --type cyclonedx --predicate nodelocaldns-1.2.3-" + arch + ".cdx.json " + host + "/nodelocaldns@" + images[i] + "\n"
	}
	want += "sign --yes " + host + "/charts/nodelocaldns@" + chart + "\nsign-blob --yes --bundle SHA256SUMS.sigstore.json SHA256SUMS\n"
	if got := string(readAll(t, filepath.Join(dir, "signed"))); got != want {
		t.Errorf("signed\n%s\nwant\n%s", got, want)
	}
}

// smallRelease leaves in a directory what hack/publish.sh needs, with a small image. It returns the digests of index and images.
func smallRelease(t *testing.T, dir string) (index string, images []string) {
	t.Helper()
	release := filepath.Join(dir, "bin", "release")
	mustExec(t, dir, "mkdir", "-p", "hack", release)
	mustExec(t, dir, "cp", absolute(t, "../publish.sh"), "hack")
	archives := []string{archiveFor(t, "amd64"), archiveFor(t, "arm64")}
	out := filepath.Join(release, "nodelocaldns-1.2.3-image.tar")
	mustRun(t, "-o", out, "-name", indexName, "-index", archives[0], "-index", archives[1])
	for i, arch := range []string{"amd64", "arm64"} {
		write(t, filepath.Join(release, "nodelocaldns-1.2.3-"+arch+".cdx.json"), "{}", 0o644)
		_, digest, _ := strings.Cut(mustDescribe(t, archives[i]), " ")
		images = append(images, digest)
	}
	mustExec(t, release, "go", "run", "helm.sh/helm/v3/cmd/helm@v3.18.6", "package", absolute(t, "../../charts/nodelocaldns"), "--version", "1.2.3")
	mustExec(t, release, "sh", "-c", "sha256sum nodelocaldns-* >SHA256SUMS")
	if err := archiveOf(t, out).writeDir(filepath.Join(dir, "layout")); err != nil {
		t.Fatal(err)
	}
	top, err := layout.ImageIndexFromPath(filepath.Join(dir, "layout"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := top.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	return m.Manifests[0].Digest.String(), images
}

// pushed returns the digest of what a registry has in a repository by a tag.
func pushed(t *testing.T, registry, repository, tag string) string {
	t.Helper()
	answer, err := http.Head(registry + "/v2/" + repository + "/manifests/" + tag)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	return answer.Header.Get("Docker-Content-Digest")
}
