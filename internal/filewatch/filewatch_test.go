// SPDX-License-Identifier: Apache-2.0

package filewatch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// watch counts what Next returns for.
func watch(t *testing.T, paths ...string) (changes chan struct{}) {
	t.Helper()
	w, err := New(paths...)
	if err != nil {
		t.Fatal(err)
	}
	changes, closing, done := make(chan struct{}, 100), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			if err := w.Next(); err != nil {
				select {
				case <-closing:
				default:
					t.Error(err)
				}
				return
			}
			changes <- struct{}{}
		}
	}()
	t.Cleanup(func() {
		close(closing)
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return changes
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func write(path, text string) error { return os.WriteFile(path, []byte(text), 0o644) }

// version writes a version of a ConfigMap as the kubelet does, and makes it the current one.
func version(dir, name string, keys ...string) error {
	errs := []error{os.MkdirAll(filepath.Join(dir, name), 0o755)}
	for _, key := range keys {
		errs = append(errs, write(filepath.Join(dir, name, key), name))
		if err := os.Symlink("..data/"+key, filepath.Join(dir, key)); !errors.Is(err, os.ErrExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, os.Symlink(name, filepath.Join(dir, "..tmp")), os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))...)
}

// TestChanges does to a file what editors, operators and the kubelet do. Each step is one change that is told of.
func TestChanges(t *testing.T) {
	for name, steps := range map[string][]func(dir, path string) error{
		"a file is rewritten in place": {
			func(_, path string) error { return write(path, "a") }, func(_, path string) error { return write(path, "b") },
		},
		"a file is replaced": {
			func(_, path string) error { return errors.Join(write(path+".new", "a"), os.Rename(path+".new", path)) },
			func(_, path string) error { return errors.Join(write(path+".new", "b"), os.Rename(path+".new", path)) },
			func(_, path string) error { return os.Remove(path) },
			func(_, path string) error { return write(path, "c") },
		},
		"a ConfigMap": {
			func(dir, path string) error { return version(dir, "..1", filepath.Base(path)) },
			func(dir, path string) error { return version(dir, "..2", filepath.Base(path)) },
			func(dir, _ string) error { return os.RemoveAll(filepath.Join(dir, "..1")) }, // which is no change: see want
			func(dir, path string) error { return version(dir, "..3", filepath.Base(path)) },
		},
		"the directory is replaced": {
			func(_, path string) error { return write(path, "a") },
			func(dir, path string) error {
				return errors.Join(os.Rename(dir, dir+".old"), os.Mkdir(dir, 0o755), write(path, "b"))
			},
			func(_, path string) error { return write(path, "c") },
			func(dir, _ string) error { return os.RemoveAll(dir) },
			func(dir, path string) error { return errors.Join(os.MkdirAll(dir, 0o755), write(path, "d")) },
			func(_, path string) error { return write(path, "e") },
		},
		"a link to a file elsewhere": {
			func(dir, path string) error {
				elsewhere := filepath.Join(filepath.Dir(dir), "elsewhere")
				return errors.Join(os.Mkdir(elsewhere, 0o755), write(elsewhere+"/f", "a"), os.Symlink("../elsewhere/f", path))
			},
			func(dir, _ string) error { return write(filepath.Join(filepath.Dir(dir), "elsewhere", "f"), "b") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "etc", "coredns")
			path := filepath.Join(dir, "Corefile.base")
			must(t, os.MkdirAll(dir, 0o755))
			changes := watch(t, path, filepath.Join(dir, "absent", "stubDomains"))
			for i, step := range steps {
				begin := time.Now() // of the change, however late this test goes on after it
				must(t, step(dir, path))
				if name == "a ConfigMap" && i == 2 {
					continue
				}
				select {
				case <-changes:
				case <-time.After(10 * time.Second):
					t.Fatalf("step %d was not noticed", i)
				}
				if took := time.Since(begin); took < quiet/2 {
					t.Errorf("step %d: told of after %s, in the middle of it maybe", i, took)
				}
			}
		})
	}
}

// TestDirectoryAppears has it, and the one above it, be made later than the watch.
func TestDirectoryAppears(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "a", "b", "f")
	changes := watch(t, path)
	for _, step := range []error{os.Mkdir(filepath.Join(root, "a"), 0o755), os.Mkdir(filepath.Join(root, "a", "b"), 0o755), write(path, "x")} {
		must(t, step)
	}
	<-changes
	for i := range 3 { // whatever has been missed before, this is not
		must(t, write(path, fmt.Sprint(i)))
		<-changes
	}
}

// TestBurst has many writes be few changes, and other files none.
func TestBurst(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	changes := watch(t, path)
	for i := range 200 {
		must(t, write(filepath.Join(dir, fmt.Sprintf("other%d", i)), "x"))
	}
	for i := range 200 {
		must(t, write(path, strings.Repeat("x", i)))
	}
	<-changes
	must(t, write(path, "the end"))
	<-changes
	if n := len(changes); n > 5 {
		t.Errorf("%d changes more", n)
	}
}

func TestLookups(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err, os.Mkdir(filepath.Join(dir, "d"), 0o755), write(dir+"/d/f", ""), os.Symlink("d/../d", dir+"/l"), os.Symlink("loop", dir+"/loop"))
	names := func(path string) (names []string) {
		for _, l := range lookups(path) {
			if rel, ok := strings.CutPrefix(filepath.Join(l.dir, l.name), dir+"/"); ok {
				names = append(names, rel)
			}
		}
		return names
	}
	for path, want := range map[string][]string{
		dir + "/d/f":      {"d", "d/f"},
		dir + "//d/./g":   {"d", "d/g"},
		dir + "/none/f":   {"none"},
		dir + "/l/f":      {"l", "d", "d", "d/f"},
		dir + "/d/f/none": {"d", "d/f", "d/f/none"},
	} {
		if got := names(path); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
	if n := len(names(dir + "/loop")); n != maxLinks+1 {
		t.Errorf("%d steps of a loop", n)
	}
}
