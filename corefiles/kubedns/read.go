// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// ReadKubeDNS reads the kube-dns ConfigMap from the directory that it is mounted on, but for the keys to skip. The
// ConfigMap, each of its keys and the directory are optional. Errors are a KubeDNSError.
func ReadKubeDNS(dir string, skip ...string) (KubeDNS, error) {
	stubDomains, upstreamNameservers, err := readConsistent(dir)
	if err != nil {
		return KubeDNS{}, KubeDNSError{"", fmt.Errorf("reading kube-dns ConfigMap: %w", err)}
	}
	if slices.Contains(skip, stubDomainsKey) {
		stubDomains = nil
	}
	if slices.Contains(skip, upstreamsKey) {
		upstreamNameservers = nil
	}
	k, err := ParseKubeDNS(stubDomains, upstreamNameservers)
	if err != nil { // it begins with the key, which is the name of the file
		return KubeDNS{}, fmt.Errorf("parsing %s/%w", filepath.Clean(dir), err)
	}
	return k, nil
}

// readConsistent reads both keys of one version. The kubelet writes a new version into a new directory and lets
// the symlink ..data point to it; a key read from a directory removed meanwhile would look absent.
func readConsistent(dir string) (stubDomains, upstreamNameservers []byte, err error) {
	data := filepath.Join(dir, "..data")
	for range 5 {
		version, _ := os.Readlink(data) // no symlink: a plain directory, which has only one version
		stubDomains, err = readOptional(filepath.Join(dir, stubDomainsKey))
		if err != nil {
			return nil, nil, err
		}
		upstreamNameservers, err = readOptional(filepath.Join(dir, upstreamsKey))
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
	text, err := io.ReadAll(io.LimitReader(f, maxSize+1)) // what is longer is refused by its length
	if err != nil {
		return nil, err
	}
	return text, nil
}
