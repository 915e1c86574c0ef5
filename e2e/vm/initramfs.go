// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/cavaliergopher/cpio"
)

// tree is the machine's root file system: files of the host's, by their path in the machine.
type tree struct {
	files map[string]file
}

// file is a copy of one on the host, a link, or a text.
type file struct {
	host, link, text string
	mode             fs.FileMode
}

// newTree has the directories that the machine mounts on, and Debian's links between those of programs and libraries.
func newTree() *tree {
	t := &tree{files: map[string]file{}}
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		t.files["/"+name] = file{link: "usr/" + name}
	}
	for _, dir := range []string{"/proc", "/sys", "/dev", "/tmp", "/run", "/var", "/root"} {
		t.files[dir] = file{mode: fs.ModeDir | 0o755}
	}
	t.files["/var/run"] = file{link: "/run"}
	t.text("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/root:/bin/sh\n")
	t.text("/etc/group", "root:x:0:\nnogroup:x:65534:\n")
	t.text("/etc/resolv.conf", "")
	return t
}

func (t *tree) text(path, text string) { t.files[path] = file{text: text, mode: 0o644} }

// copy puts the host's file there.
func (t *tree) copy(path, host string) error {
	info, err := os.Stat(host)
	if err != nil {
		return err
	}
	t.files[path] = file{host: host, mode: info.Mode().Perm()}
	return nil
}

// copyAll puts a directory of the host there, with all that is in it.
func (t *tree) copyAll(path, host string) error {
	return filepath.WalkDir(host, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return t.copy(filepath.Join(path, strings.TrimPrefix(p, host)), p)
	})
}

// program puts a program of the host there, by its name and the name that this is a link to, with its libraries.
func (t *tree) program(name string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return err
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	if own := filepath.Join(merged(filepath.Dir(path)), name); own != real {
		t.files[own] = file{link: real}
	}
	return t.withLibraries(real)
}

// merged is a directory's path where /bin and the like are links.
func merged(dir string) string {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		return real
	}
	return dir
}

var libraryPath = regexp.MustCompile(`(?m)(?:^\s+|=> )(/\S+)`)

// withLibraries puts an ELF file there and what ldd says that it needs.
func (t *tree) withLibraries(path string) error {
	if _, ok := t.files[path]; ok {
		return nil
	}
	if err := t.copy(path, path); err != nil {
		return err
	}
	out, err := exec.Command("ldd", path).Output()
	if err != nil {
		return nil // a static program
	}
	for _, m := range libraryPath.FindAllStringSubmatch(string(out), -1) {
		real, err := filepath.EvalSymlinks(m[1])
		if err != nil {
			return err
		}
		if own := filepath.Join(merged(filepath.Dir(m[1])), filepath.Base(m[1])); own != real {
			t.files[own] = file{link: real}
		}
		if err := t.copy(real, real); err != nil {
			return err
		}
	}
	return nil
}

// write writes the archive in the form that the kernel unpacks, with the directories that the paths need.
func (t *tree) write(out *os.File) error {
	for path := range t.files {
		for dir := filepath.Dir(path); dir != "/"; dir = filepath.Dir(dir) {
			if _, ok := t.files[dir]; !ok {
				t.files[dir] = file{mode: fs.ModeDir | 0o755}
			}
		}
	}
	var paths []string
	for path := range t.files {
		paths = append(paths, path)
	}
	slices.Sort(paths) // a directory before what is in it
	w := cpio.NewWriter(out)
	for _, path := range paths {
		if err := t.files[path].write(w, path); err != nil {
			return fmt.Errorf("packing %s: %w", path, err)
		}
	}
	return w.Close()
}

func (f file) write(w *cpio.Writer, path string) error {
	h := &cpio.Header{Name: strings.TrimPrefix(path, "/"), Mode: cpio.FileMode(f.mode.Perm()) | cpio.TypeReg}
	body := []byte(f.text)
	switch {
	case f.mode.IsDir():
		h.Mode = cpio.FileMode(f.mode.Perm()) | cpio.TypeDir
	case f.link != "":
		h.Mode, h.Linkname, body = 0o777|cpio.TypeSymlink, f.link, []byte(f.link)
	case f.host != "":
		var err error
		if body, err = os.ReadFile(f.host); err != nil {
			return err
		}
	}
	h.Size = int64(len(body))
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(body)
	return err
}
