// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// An aptState is a directory in which apt has its own lists, caches and
// architecture. apt reads sources and keys from the machine's /etc/apt, and
// changes nothing on the machine.
type aptState struct {
	dir, arch string
	said      strings.Builder // standard error: an update that could not fetch a list ends with success
}

// newAptState makes the directory in cache and fetches the lists. remove
// deletes the directory.
func newAptState(cache, arch string) (a *aptState, remove func(), err error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return a, nil, err
	}
	if cache, err = filepath.Abs(cache); err != nil {
		return a, nil, err
	}
	dir, err := os.MkdirTemp(cache, "apt-")
	if err != nil {
		return a, nil, err
	}
	a, remove = &aptState{dir: dir, arch: arch}, func() { os.RemoveAll(dir) }
	err = a.makeDirs()
	if err == nil {
		_, err = a.run("apt-get", "update")
	}
	if err != nil {
		remove()
	}
	return a, remove, err
}

func (a *aptState) makeDirs() error {
	for _, dir := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.dir, dir), 0o755); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(a.dir, "state", "status"), nil, 0o644) // nothing is installed
}

// run runs one of apt's commands in a.dir and returns its standard output.
func (a *aptState) run(name string, args ...string) (string, error) {
	cmd := exec.Command(name, append([]string{
		"-qq",
		"-o", "Dir::State=" + a.dir + "/state",
		"-o", "Dir::State::status=" + a.dir + "/state/status",
		"-o", "Dir::Cache=" + a.dir + "/cache",
		"-o", "Dir::Cache::pkgcache=pkgcache.bin", "-o", "Dir::Cache::srcpkgcache=srcpkgcache.bin",
		"-o", "APT::Architecture=" + a.arch, "-o", "APT::Architectures=" + a.arch,
		"-o", "APT::Sandbox::User=root", // apt's own user may not look into a.dir
		"-o", "Acquire::Languages=none",
		"-o", "Acquire::Retries=3",
	}, args...)...)
	cmd.Dir, cmd.Stderr = a.dir, &a.said
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("%w: packages are fetched with Debian's tools; the Dockerfile does it in a container", err)
	}
	if err != nil {
		return "", fmt.Errorf("running %s %s: %w: %s", name, strings.Join(args, " "), err, strings.Join(strings.Fields(a.said.String()), " "))
	}
	return string(out), nil
}

// fetch downloads the packages that the cache does not have. cachedFile says
// where they are.
func fetch(pkgs []pkg, cache, arch string) error {
	var missing []pkg
	for _, p := range pkgs {
		if _, err := checkedFile(cachedFile(cache, p), p); err != nil {
			missing = append(missing, p)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	apt, remove, err := newAptState(cache, arch)
	if err != nil {
		return err
	}
	defer remove()
	for _, p := range missing {
		if err := apt.download(p, cachedFile(cache, p)); err != nil {
			return err
		}
	}
	return nil
}

// cachedFile names a package's file by its content.
func cachedFile(cache string, p pkg) string { return filepath.Join(cache, p.sha256+".deb") }

// checkedFile returns the content of a package's file if it is the pinned one.
func checkedFile(name string, p pkg) ([]byte, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if sum := fmt.Sprintf("%x", sha256.Sum256(b)); sum != p.sha256 {
		return nil, fmt.Errorf("package %s: its sha256 is %s, and %s is pinned", p, sum, p.sha256)
	}
	return b, nil
}

func (a *aptState) download(p pkg, to string) error {
	if _, err := a.run("apt-get", "download", p.name+"="+p.version); err != nil {
		if strings.Contains(a.said.String(), "Failed to fetch") {
			return fmt.Errorf("package %s cannot be fetched: %w", p, err)
		}
		return fmt.Errorf("package %s is pinned, and apt's sources do not have it (any more): "+
			"`make image-lock` pins what they have, or add a source of snapshot.debian.org: %w", p, err)
	}
	files, err := filepath.Glob(filepath.Join(a.dir, p.name+"_*.deb"))
	if err != nil || len(files) != 1 {
		return fmt.Errorf("package %s: apt-get download left %d files", p, len(files))
	}
	if _, err := checkedFile(files[0], p); err != nil {
		return err
	}
	return os.Rename(files[0], to)
}

// candidates returns the version of each package that apt would install.
func candidates(cache, arch string, names []string) ([]pkg, error) {
	apt, remove, err := newAptState(cache, arch)
	if err != nil {
		return nil, err
	}
	defer remove()
	var out []pkg
	for _, name := range names {
		shown, err := apt.run("apt-cache", "show", "--no-all-versions", name)
		if err != nil {
			return nil, err
		}
		p := pkg{name: name}
		for line := range strings.Lines(shown) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			for k, field := range map[string]*string{"Version": &p.version, "Architecture": &p.arch, "SHA256": &p.sha256} {
				if k == key {
					*field = value
				}
			}
		}
		out = append(out, p)
	}
	return out, nil
}
