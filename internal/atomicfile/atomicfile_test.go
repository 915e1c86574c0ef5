// SPDX-License-Identifier: Apache-2.0

package atomicfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writeFile writes a file into dir and returns its path.
func writeFile(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func readString(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestReplaceFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "Corefile")
	for _, text := range []string{"one", "two", ""} {
		if err := Replace(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := readString(t, path); got != text {
			t.Errorf("got %q, want %q", got, text)
		}
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := Replace(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("a file with the same text was replaced (%v)", err)
	}
	if mode := before.Mode(); mode != 0o600 {
		t.Errorf("mode %s", mode)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestReplaceFileKeepsOthers(t *testing.T) {
	dir := t.TempDir()
	target := writeFile(t, dir, "target", "mine")
	link := filepath.Join(dir, "link")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, dir, "/dev/null", filepath.Join(dir, "absent", "Corefile")} {
		if err := Replace(path, []byte("other"), 0o600); err == nil {
			t.Errorf("%s: no error", path)
		}
	}
	if got := readString(t, target); got != "mine" {
		t.Errorf("the target of the link became %q", got)
	}
}

// TestReplaceFileNamesNoFile has each step fail, twice: the message is the same, without the random name of the file.
func TestReplaceFileNamesNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "Corefile")
	fail := func(f *os.File) error { return f.Truncate(-1) }
	for _, tt := range []struct {
		path string
		text []byte
		want string
	}{
		{filepath.Join(path, "absent"), nil, "creating a file beside PATH/absent: no such file or directory"},
		{path, []byte("text"), "writing a file beside PATH: invalid argument"},
	} {
		for range 2 {
			err := swap(tt.path, tt.text, fail)
			if want := strings.ReplaceAll(tt.want, "PATH", path); err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		}
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	err := swap(path, nil, func(*os.File) error { return nil })
	if want := "writing a file beside " + path + ": file exists"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
