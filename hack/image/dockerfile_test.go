// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// dockerfile returns the instructions, each as its words.
func dockerfile(t *testing.T) (instructions [][]string) {
	t.Helper()
	result, err := parser.Parse(bytes.NewReader(readAll(t, "../../Dockerfile")))
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range result.AST.Children {
		words := append([]string{strings.ToUpper(node.Value)}, node.Flags...)
		for n := node.Next; n != nil; n = n.Next {
			words = append(words, n.Value)
		}
		instructions = append(instructions, words)
	}
	return instructions
}

func find(t *testing.T, instructions [][]string, prefix ...string) []string {
	t.Helper()
	for _, words := range instructions {
		if len(words) >= len(prefix) && slices.Equal(words[:len(prefix)], prefix) {
			return words[len(prefix):]
		}
	}
	t.Fatalf("no %q in the Dockerfile", prefix)
	return nil
}

// Labels, PATH and entry point are the only things that the Dockerfile has to repeat.
func TestDockerfileIsTheImage(t *testing.T) {
	d, makefile := dockerfile(t), string(readAll(t, "../../Makefile"))
	if got := find(t, d, "FROM", "scratch"); len(got) != 0 {
		t.Errorf("FROM scratch %q", got)
	}
	if got := find(t, d, "COPY", "--from=build"); !slices.Equal(got, []string{find(t, d, "WORKDIR")[0] + "/bin/rootfs/", "/"}) {
		t.Errorf("COPY %q", got)
	}
	if !strings.Contains(makefile, "\nROOTFS      ?= bin/rootfs\n") || !strings.Contains(makefile, "-rootfs $(CURDIR)/$(ROOTFS)\n") {
		t.Error("make rootfs writes to another directory")
	}
	if got := strings.Join(find(t, d, "ENV")[:2], "="); got != searchPath {
		t.Errorf("ENV %s", got)
	}
	if got := find(t, d, "ENTRYPOINT"); !strings.Contains(makefile, " -entrypoint "+got[0]+" ") || len(got) != 1 {
		t.Errorf("ENTRYPOINT %q", got)
	}
	if got, want := labels(find(t, d, "LABEL")), makeLabels(makefile); !maps.Equal(got, want) || len(got) != 6 {
		t.Errorf("LABEL\n%q\nthe Makefile has\n%q", got, want)
	}
}

func labels(words []string) map[string]string {
	out := map[string]string{}
	for i := 0; i+1 < len(words); i += 3 { // key, value, "="
		out[words[i]] = strings.Trim(words[i+1], `"`)
	}
	return out
}

func makeLabels(makefile string) map[string]string {
	out := map[string]string{}
	for _, m := range regexp.MustCompile(`-label (?:'([^=]+)=([^']*)'|([^=]+)=(\S+))`).FindAllStringSubmatch(makefile, -1) {
		out[m[1]+m[3]] = strings.NewReplacer("(", "", ")", "").Replace(m[2] + m[4])
	}
	return out
}

func TestVersionsAreListedOnce(t *testing.T) {
	files := string(slices.Concat(readAll(t, "../../Dockerfile"), readAll(t, "../../Makefile")))
	for _, arch := range []string{"amd64", "arm64"} {
		pkgs, err := readLock("debian.lock", arch)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pkgs {
			if strings.Contains(files, p.version) || strings.Contains(files, p.name+" ") {
				t.Errorf("%s is in the Dockerfile or the Makefile too", p)
			}
		}
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(readAll(t, "../../go.mod"))
	if from := find(t, dockerfile(t), "FROM", "--platform=$BUILDPLATFORM"); !strings.HasPrefix(from[0], "golang:"+string(version[1])+"-") {
		t.Errorf("FROM %q, and go.mod wants Go %s", from, version[1])
	}
}
