// SPDX-License-Identifier: Apache-2.0

package kubedns

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Read reads the ConfigMap from the directory at which it is mounted, without the keys in skip. The directory, the ConfigMap and
// its keys are optional. An error is an Error.
func Read(dir string, skip ...string) (Config, error) {
	stubDomains, upstreamNameservers, err := readConsistent(dir)
	if err != nil {
		return Config{}, Error{"", fmt.Errorf("reading kube-dns ConfigMap: %w", err)}
	}
	if slices.Contains(skip, StubDomainsKey) {
		stubDomains = nil
	}
	if slices.Contains(skip, UpstreamsKey) {
		upstreamNameservers = nil
	}
	k, err := Parse(stubDomains, upstreamNameservers)
	if err != nil { // err begins with the key, which is the name of the file
		return Config{}, fmt.Errorf("parsing %s/%w", filepath.Clean(dir), err)
	}
	return k, nil
}

// readConsistent reads both keys of one version. The kubelet writes a new version to a new directory, lets the symlink ..data
// point to the new directory, and removes the old one. A key would look absent in a directory that was just removed.
func readConsistent(dir string) (stubDomains, upstreamNameservers []byte, err error) {
	data := filepath.Join(dir, "..data")
	for range 5 {
		version, _ := os.Readlink(data) // without a symlink the directory has one version only
		stubDomains, err = readOptional(filepath.Join(dir, StubDomainsKey))
		if err != nil {
			return nil, nil, err
		}
		upstreamNameservers, err = readOptional(filepath.Join(dir, UpstreamsKey))
		if err != nil {
			return nil, nil, err
		}
		if now, _ := os.Readlink(data); now == version {
			return stubDomains, upstreamNameservers, nil
		}
	}
	return nil, nil, fmt.Errorf("%s changes too often", data)
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
