// SPDX-License-Identifier: Apache-2.0

package rendering

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/internal/options"
)

const someText = ".:53 {\n    whoami\n}\n"

func lastGoodIn(t *testing.T, dir, flags string, env map[string]string) LastGood {
	t.Helper()
	o, err := options.Parse(append([]string{"-statedir", dir}, split(flags)...))
	if err != nil {
		t.Fatal(err)
	}
	return NewLastGood(o, func(name string) string { return env[name] })
}

func TestLastGood(t *testing.T) {
	dir := t.TempDir()
	env := map[string]string{"KUBE_DNS_SERVICE_HOST": "10.96.0.10"}
	g := lastGoodIn(t, dir, "-localip 10.0.0.1 -quiet", env)
	if _, err := g.Read(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	for _, text := range []string{someText, "", "# only a comment\n"} {
		if err := g.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := g.Read(); err != nil || string(got) != text {
			t.Errorf("got %q, %v; want %q", got, err, text)
		}
	}
	info, err := os.Stat(g.Path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %s, %v", info.Mode(), err)
	}
	if got, err := lastGoodIn(t, dir, "-localip 10.0.0.1 -pidfile /x", env).Read(); err != nil {
		t.Errorf("another pidfile: got %q, %v", got, err)
	}
	for name, other := range map[string]LastGood{
		"address":   lastGoodIn(t, dir, "-localip 10.0.0.2", env),
		"port":      lastGoodIn(t, dir, "-localip 10.0.0.1 -dns.port 54", env),
		"firewall":  lastGoodIn(t, dir, "-localip 10.0.0.1 -firewall none", env),
		"ClusterIP": lastGoodIn(t, dir, "-localip 10.0.0.1", map[string]string{"KUBE_DNS_SERVICE_HOST": "10.96.0.12"}),
		"variable":  lastGoodIn(t, dir, "-localip 10.0.0.1", nil),
	} {
		if _, err := other.Read(); err == nil || err.Error() != g.Path+": it was made for other flags or ClusterIPs, or is damaged" {
			t.Errorf("another %s: %v", name, err)
		}
	}
}

func TestLastGoodKeepsNothing(t *testing.T) {
	o, err := options.Parse([]string{"-statedir="})
	if err != nil {
		t.Fatal(err)
	}
	g := NewLastGood(o, os.Getenv)
	if err := g.Write([]byte(someText)); err != nil {
		t.Error(err)
	}
	if _, err := g.Read(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// TestLastGoodDamaged changes each byte, and cuts the file off at each.
func TestLastGoodDamaged(t *testing.T) {
	g := lastGoodIn(t, t.TempDir(), "-localip 10.0.0.1", nil)
	whole := slices.Concat(g.headOf([]byte(someText)), []byte(someText))
	for i := range whole {
		changed := slices.Clone(whole)
		changed[i] ^= 1
		for what, data := range map[string][]byte{"changed": changed, "cut": whole[:i]} {
			if text, err := g.parse(data); err == nil {
				t.Errorf("%s at %d: got %q", what, i, text)
			}
		}
	}
	if _, err := g.parse(append(whole, ' ')); err == nil || err.Error() != "it is damaged" {
		t.Errorf("longer: %v", err)
	}
}

func TestReadOwn(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"good", "shared", "theirs", "long"} {
		writeFile(t, dir, name, "text")
	}
	writeFile(t, dir, "long", "a text")
	if err := errors.Join(os.Chmod(at("shared"), 0o620), os.Symlink(at("good"), at("link")), syscall.Mkfifo(at("pipe"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"good":   "",
		"shared": " may be written by others (mode 0620)",
		"link":   "too many levels of symbolic links",
		"pipe":   " is not a regular file",
		"long":   " has more than 4 bytes",
		".":      " is not a regular file",
		"absent": "no such file or directory",
	} {
		text, err := readOwn(at(name), 4)
		if (err == nil) != (want == "") || err != nil && !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %q, %v; want %q", name, text, err, want)
		}
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(at("theirs"), 1, -1); err != nil {
			t.Fatal(err)
		}
		if _, err := readOwn(at("theirs"), 4); err == nil || !strings.HasSuffix(err.Error(), "belongs to another user") {
			t.Errorf("another user's: %v", err)
		}
	}
}

func TestMakeStateDir(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	writeFile(t, dir, "file", "")
	if err := errors.Join(os.Mkdir(at("open"), 0o755), os.Mkdir(at("shared"), 0o755), os.Chmod(at("shared"), 0o777), os.Symlink(at("open"), at("link"))); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"new/dir":  "",
		"open":     "",
		"shared":   "may be written by others (mode 0777)",
		"link":     "is not a directory",
		"file":     "not a directory",
		"file/dir": "not a directory",
	} {
		err := MakeStateDir(at(name))
		if (err == nil) != (want == "") || err != nil && !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
		if info, statErr := os.Stat(at(name)); err == nil && (statErr != nil || info.Mode().Perm() != 0o700) {
			t.Errorf("%s: %v, %v", name, info, statErr)
		}
	}
	if err := MakeStateDir(""); err != nil {
		t.Error(err)
	}
}

func FuzzLastGood(f *testing.F) {
	g := LastGood{Path: "x", made: "localip=10.0.0.1"}
	f.Add(slices.Concat(g.headOf([]byte(someText)), []byte(someText)))
	f.Add([]byte("# The last\n"))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		text, err := g.parse(data)
		if err == nil && !bytes.Equal(slices.Concat(g.headOf(text), text), data) {
			t.Errorf("%q is taken for %q", data, text)
		}
	})
}
