// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"net/url"
	"os"
	"runtime/debug"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// writeSBOM writes the bill of materials of the image. The bill has neither a
// serial number nor a time, so that the same image has the same bill.
func writeSBOM(o options, pkgs []pkg) error {
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Component: &cdx.Component{
		BOMRef:  "image",
		Type:    cdx.ComponentTypeContainer,
		Name:    o.name,
		Version: o.labels["org.opencontainers.image.version"],
	}}
	components, err := goComponents(o)
	if err != nil {
		return err
	}
	for _, p := range pkgs {
		components = append(components, p.component())
	}
	bom.Components = &components
	var b bytes.Buffer
	if err := cdx.NewBOMEncoder(&b, cdx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).EncodeVersion(bom, cdx.SpecVersion1_6); err != nil {
		return fmt.Errorf("writing %s: %w", o.sbom, err)
	}
	return os.WriteFile(o.sbom, b.Bytes(), 0o644)
}

// goComponents lists the modules that the Go programs among the files were built of.
func goComponents(o options) ([]cdx.Component, error) {
	var out []cdx.Component
	seen := map[string]bool{}
	for _, f := range o.files {
		info, err := buildinfo.ReadFile(f.from)
		if err != nil {
			continue // not a Go program
		}
		main := info.Main
		if version := o.labels["org.opencontainers.image.version"]; version != "" {
			main.Version = version // the build information has "(devel)"
		}
		std := &debug.Module{Path: "stdlib", Version: strings.TrimPrefix(info.GoVersion, "go")}
		for i, m := range append([]*debug.Module{&main, std}, info.Deps...) {
			c := moduleComponent(m)
			if i == 0 {
				c.Type = cdx.ComponentTypeApplication
			}
			if !seen[c.BOMRef] {
				out = append(out, c)
			}
			seen[c.BOMRef] = true
		}
	}
	return out, nil
}

func moduleComponent(m *debug.Module) cdx.Component {
	if m.Replace != nil {
		m = m.Replace
	}
	purl := "pkg:golang/" + m.Path + "@" + url.PathEscape(m.Version)
	c := cdx.Component{BOMRef: purl, Type: cdx.ComponentTypeLibrary, Name: m.Path, Version: m.Version, PackageURL: purl}
	if m.Sum != "" {
		// go.sum hashes the list of a module's files, not a file. So the sum is
		// no hash in the sense of CycloneDX.
		c.Properties = &[]cdx.Property{{Name: "go.sum", Value: m.Sum}}
	}
	return c
}

func (p pkg) component() cdx.Component {
	purl := fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s&distro=bookworm", purlEscape(p.name), purlEscape(p.version), p.arch)
	return cdx.Component{
		BOMRef: purl, Type: cdx.ComponentTypeLibrary, Name: p.name, Version: p.version, PackageURL: purl,
		Hashes:     &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: p.sha256}},
		Properties: &[]cdx.Property{{Name: "debian:architecture", Value: p.arch}},
	}
}

// purlEscape escapes a part of a package URL, in which a plus sign means a
// space.
func purlEscape(s string) string { return strings.ReplaceAll(url.PathEscape(s), "+", "%2B") }
