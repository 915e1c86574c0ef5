// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// This test program is a Go program with dependencies.
func TestSBOM(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o := options{
		name: "example.org/x:1", sbom: filepath.Join(t.TempDir(), "x.json"), files: []pair{{self, "/x"}, {"sbom.go", "/y"}},
		labels: map[string]string{"org.opencontainers.image.version": "v1.2"},
	}
	if err := writeSBOM(o, []pkg{{"libstdc++6", "1:1.0+b~1", "amd64", sum}}); err != nil {
		t.Fatal(err)
	}
	b := readAll(t, o.sbom)
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(b), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	if bom.SerialNumber != "" || bom.Metadata.Timestamp != "" || bom.Metadata.Component.Version != "v1.2" {
		t.Errorf("got %+v", bom)
	}
	for _, want := range []string{
		`"purl": "pkg:deb/debian/libstdc%2B%2B6@1:1.0%2Bb~1?arch=amd64`, sum,
		`"pkg:golang/stdlib@1.`, `"pkg:golang/github.com/google/go-containerregistry@v`, `"value": "h1:`,
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in\n%s", want, b)
		}
	}
}
