// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"strings"
	"testing"
)

func TestAddTar(t *testing.T) {
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "./lib/x/a.so.1", Typeflag: tar.TypeReg, Mode: 0o644},
		{Name: "./usr/lib/x/a.so", Typeflag: tar.TypeSymlink, Linkname: "/lib/x/a.so.1"},
		{Name: "./bin/b", Typeflag: tar.TypeLink, Linkname: "./lib/x/a.so.1"},
	} {
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	pool := tree{}
	if err := pool.addTar(&b); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(pool.sorted(), " "); got != "usr/bin/b usr/lib/x/a.so usr/lib/x/a.so.1" {
		t.Errorf("got %s", got)
	}
	_, paths, err := pool.follow("usr/lib/x/a.so")
	if got := strings.Join(paths, " "); got != "usr/lib/x/a.so usr/lib/x/a.so.1" || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestFollowEnds(t *testing.T) {
	pool := tree{"a": link("b"), "b": link("/a"), "c": link("d")}
	for p, want := range map[string]string{"a": "/a: too many links", "c": "/d: file does not exist"} {
		if _, _, err := pool.follow(p); err == nil || err.Error() != want {
			t.Errorf("%s: got %v", p, err)
		}
	}
}

func TestSelectSaysWhatIsMissing(t *testing.T) {
	pool := tree{"usr/share/ca-certificates/mozilla/a.crt": file([]byte("x"))}
	if _, err := selectFiles(pool, "amd64", nil); err == nil || !strings.Contains(err.Error(), "/usr/sbin/xtables-nft-multi: file does not exist") {
		t.Errorf("got %v", err)
	}
	if _, err := selectFiles(tree{}, "amd64", nil); err == nil || err.Error() != "no CA certificates" {
		t.Errorf("got %v", err)
	}
}

func TestSelectTakesWhatIsNamed(t *testing.T) {
	pool := tree{
		"usr/bin/a": link("b"), "usr/bin/b": file([]byte("b")), "usr/bin/c": file([]byte("c")),
		"usr/share/doc/p/copyright": file(nil), "usr/share/common-licenses/L": file(nil),
	}
	got, err := selectFiles(pool, "amd64", []string{"/bin/a"})
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]bool{
		"usr/bin/a": true, "usr/bin/b": true, "usr/bin/c": false, "run/xtables.lock": false, "usr/share/doc/p/copyright": true,
	} {
		if _, ok := got[p]; ok != want {
			t.Errorf("/%s: in the image %t, want %t", p, ok, want)
		}
	}
	if _, err := selectFiles(pool, "amd64", []string{"/bin/d*"}); err == nil || err.Error() != "no file matches usr/bin/d*" {
		t.Errorf("got %v", err)
	}
}

func TestCertificatesEndWithOneNewline(t *testing.T) {
	dir := "usr/share/ca-certificates/mozilla/"
	got, err := certificates(tree{dir + "b.crt": file([]byte("b\n\n")), dir + "a.crt": file([]byte("a")), dir + "c.txt": file(nil)})
	if string(got) != "a\nb\n" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}
