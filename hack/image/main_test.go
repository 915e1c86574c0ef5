// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func write(t *testing.T, name, content string, mode os.FileMode) string {
	t.Helper()
	if !filepath.IsAbs(name) {
		name = filepath.Join(t.TempDir(), name)
	}
	if err := os.WriteFile(name, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return name
}

func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if err := run(args, &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestSmallImage(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.tar")
	said := mustRun(t, "-o", out, "-name", "e2e.local/probe:1", "-arch", "arm64", "-file", write(t, "bin", "program", 0o755)+"=/usr/bin/probe",
		"-file", write(t, "conf", "text", 0o600)+"=/etc/conf", "-link", "/usr/bin/probe=/probe", "-entrypoint", "/probe", "-label", "a=b=c")
	if !strings.HasPrefix(said, "e2e.local/probe:1 sha256:") {
		t.Errorf("said %q", said)
	}
	img, err := tarball.ImageFromPath(out, nil) // as docker reads it
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c.Architecture != "arm64" || c.OS != "linux" || !slices.Equal(c.Config.Entrypoint, []string{"/probe"}) || c.Config.Labels["a"] != "b=c" || !slices.Equal(c.Config.Env, []string{searchPath}) {
		t.Errorf("got %+v", c)
	}
	files := tree{}
	for _, l := range layersOf(t, out) {
		if err := files.addTar(bytes.NewReader(l)); err != nil {
			t.Fatal(err)
		}
	}
	want := "etc etc/conf probe usr usr/bin usr/bin/probe"
	if got := strings.Join(files.sorted(), " "); got != want {
		t.Errorf("got %s", got)
	}
	if files["usr/bin/probe"].mode != 0o755 || files["etc/conf"].mode != 0o644 || files["probe"].target != "/usr/bin/probe" {
		t.Errorf("got %v", files)
	}
}

// The second build has files of another time and another umask.
func TestSameInputsSameBytes(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	build := func(out string) []byte {
		mustRun(t, "-o", out, "-sbom", out+".json", "-rootfs", out+".d", "-name", "example.org/x:1", "-arch", "amd64", "-file", program+"=/x", "-file", program+"=/y", "-label", "a=1", "-label", "b=2")
		return slices.Concat(readAll(t, out), readAll(t, out+".json"))
	}
	write(t, program, "program", 0o755)
	first := build(filepath.Join(dir, "1"))
	defer syscall.Umask(syscall.Umask(0o077))
	if err := os.Chtimes(program, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, build(filepath.Join(dir, "2"))) {
		t.Error("two builds differ")
	}
	for _, name := range []string{"1.d/x", "2.d/x"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode() != 0o755 || !info.ModTime().Equal(epoch) {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func TestCreated(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "86400")
	o, err := parseOptions([]string{"-o", "x", "-name", "busybox"})
	if err != nil {
		t.Fatal(err)
	}
	if got := o.created.Format(time.DateOnly); got != "1970-01-02" {
		t.Errorf("got %s", got)
	}
	if o.name != "docker.io/library/busybox:latest" {
		t.Errorf("got %s", o.name)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "today")
	if _, err := parseOptions([]string{"-rootfs", "x"}); err == nil {
		t.Error("no error")
	}
}

func TestBadOptions(t *testing.T) {
	program := write(t, "program", "program", 0o755)
	big := write(t, "big", strings.Repeat("x", 2e6), 0o644)
	for args, want := range map[string]string{
		"":                            "nothing to do: want -o, -rootfs, -sbom or -update-lock",
		"-update-lock":                "-update-lock and -take need -debs",
		"-take a -o OUT":              "-update-lock and -take need -debs",
		"-take [":                     "syntax error in pattern",
		"-o OUT":                      "-name: ",
		"-o OUT -name x -arch mips":   `-arch "mips": want amd64 or arm64`,
		"-o OUT -name x y":            `unexpected argument "y"`,
		"-o OUT -name x -file a":      "want FROM=/PATH",
		"-o OUT -name x -file a=b":    "want FROM=/PATH",
		"-o OUT -name x -file a=/":    "want FROM=/PATH",
		"-o OUT -name x -label a":     "want KEY=VALUE",
		"-o OUT -name x -file nil=/a": "no such file",
		"-o OUT -name x -file " + program + "=/a -file " + program + "=/a/":    "adding /a: it is there already",
		"-o OUT -name x -max 1 -file " + big + "=/a":                           "docker.io/library/x:latest has 2.0 MB unpacked, and may have 1 (-max)",
		"-rootfs " + filepath.Dir(program) + " -file " + program + "=/program": "file exists",
	} {
		out := filepath.Join(t.TempDir(), "out")
		err := run(strings.Fields(strings.ReplaceAll(args, "OUT", out)), io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", args, err, want)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: wrote an archive", args)
		}
	}
}
