// SPDX-License-Identifier: Apache-2.0

package kubedns

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Read reads the ConfigMap from the directory at which it is mounted, without the keys in skip. The directory, the ConfigMap and
// its keys are optional. An error is an Error.
func Read(dir string, skip ...string) (Config, error) {
	values, err := readConsistent(dir)
	if err != nil {
		return Config{}, Error{"", fmt.Errorf("reading kube-dns ConfigMap: %w", err)}
	}
	for _, key := range skip {
		delete(values, key)
	}
	k, err := Parse(values[StubDomainsKey], values[UpstreamsKey])
	if err != nil { // err begins with the key, which is the name of the file
		return Config{}, fmt.Errorf("parsing %s/%w", filepath.Clean(dir), err)
	}
	return k, nil
}

// readConsistent reads the keys of one version. The kubelet writes a new version to a new directory, lets the symlink ..data
// point to the new directory, and removes the old one. A key would look absent in a directory that was just removed.
func readConsistent(dir string) (values map[string][]byte, err error) {
	data := filepath.Join(dir, "..data")
	for range 5 {
		version, _ := os.Readlink(data) // without a symlink the directory has one version only
		values = make(map[string][]byte)
		for _, key := range Keys {
			if values[key], err = readOptional(filepath.Join(dir, key)); err != nil {
				return nil, err
			}
		}
		if now, _ := os.Readlink(data); now == version {
			return values, nil
		}
	}
	return nil, fmt.Errorf("%s changes too often", data)
}

func readOptional(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxSize+1)) // parseJSON refuses a longer text
}
