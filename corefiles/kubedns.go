// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// KubeDNSKeys are the keys of the kube-dns ConfigMap that are read. Mounted, each is a file.
var KubeDNSKeys = []string{stubDomainsKey, upstreamsKey}

const (
	stubDomainsKey = "stubDomains"
	upstreamsKey   = "upstreamNameservers"

	maxUpstreams = 3  // kube-dns's own limit
	maxServers   = 15 // CoreDNS's forward takes no more

	wantObject  = `an object such as {"acme.example": ["192.0.2.1"]}`
	wantList    = `a list of strings such as ["192.0.2.1"]`
	serverForms = "want IP, IP:PORT or [IPv6]:PORT, with or without dns:// or tls:// before it"
)

// KubeDNS is the content of the kube-dns ConfigMap.
type KubeDNS struct {
	StubDomains         map[string][]string // domain to servers
	UpstreamNameservers []string
}

// A KubeDNSError says that one key of the kube-dns ConfigMap cannot be used, or, if Key is empty, that none can.
type KubeDNSError struct {
	Key string
	err error
}

// Error implements error.
func (e KubeDNSError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e KubeDNSError) Unwrap() error { return e.err }

// ParseKubeDNS parses the values of the keys stubDomains and upstreamNameservers, nil or empty if absent. Errors
// are a KubeDNSError, and begin with the key.
//
// An entry that kube-dns would not have minded is refused too if CoreDNS would: the reference passed it on, and
// every node's cache went into a crash loop (kubernetes/dns#539).
func ParseKubeDNS(stubDomains, upstreamNameservers []byte) (KubeDNS, error) {
	var k KubeDNS
	var err error
	if k.StubDomains, err = parseStubDomains(stubDomains); err != nil {
		return KubeDNS{}, KubeDNSError{stubDomainsKey, fmt.Errorf("%s%w", stubDomainsKey, err)}
	}
	if err := parseJSON(upstreamNameservers, &k.UpstreamNameservers, wantList); err != nil {
		return KubeDNS{}, KubeDNSError{upstreamsKey, fmt.Errorf("%s%w", upstreamsKey, err)}
	}
	return k, k.check()
}

// parseStubDomains goes through the object member by member because json.Unmarshal would let the last of
// duplicate keys win without a word.
func parseStubDomains(data []byte) (map[string][]string, error) {
	var object map[string]json.RawMessage
	if err := parseJSON(data, &object, wantObject); err != nil || object == nil {
		return nil, err
	}
	stubs := make(map[string][]string, len(object))
	dec := json.NewDecoder(bytes.NewReader(data))
	if _, err := dec.Token(); err != nil { // the brace, which parseJSON has seen
		return nil, fmt.Errorf(": %w", err)
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf(": %w", err)
		}
		domain, _ := key.(string) // what else a key can be is refused by parseJSON
		if _, ok := stubs[domain]; ok {
			return nil, fmt.Errorf("%s: %q is there twice", position(data, dec.InputOffset()), domain)
		}
		var servers []string
		if err := dec.Decode(&servers); err != nil {
			return nil, fmt.Errorf(": %q: %w", domain, unwanted(err, wantList))
		}
		stubs[domain] = servers
	}
	return stubs, nil
}

// parseJSON parses data, if there are any, into v. Errors begin with the position, to be put behind the name of
// the key or file.
func parseJSON(data []byte, v any, want string) error {
	if len(data) > maxSize {
		return fmt.Errorf(": %d bytes are more than %d", len(data), maxSize)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	err := json.Unmarshal(data, v)
	var syntax *json.SyntaxError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &syntax):
		return fmt.Errorf("%s: %w", position(data, syntax.Offset), err)
	}
	return fmt.Errorf(": %w", unwanted(err, want))
}

// unwanted says in the terms of the ConfigMap what encoding/json says in terms of Go types.
func unwanted(err error, want string) error {
	var unwanted *json.UnmarshalTypeError
	if errors.As(err, &unwanted) {
		return fmt.Errorf("found %s; want %s", unwanted.Value, want)
	}
	return err
}

// position returns ":LINE:COLUMN" of the last byte before offset.
func position(data []byte, offset int64) string {
	before := data[:max(0, min(int(offset), len(data))-1)]
	line := bytes.Count(before, []byte("\n"))
	column := len(before) - (bytes.LastIndexByte(before, '\n') + 1)
	return fmt.Sprintf(":%d:%d", line+1, column+1)
}

// check returns a KubeDNSError for the first entry that cannot be used.
func (k KubeDNS) check() error {
	if err := k.checkStubDomains(); err != nil {
		return KubeDNSError{stubDomainsKey, err}
	}
	if err := k.checkUpstreams(); err != nil {
		return KubeDNSError{upstreamsKey, err}
	}
	return nil
}

func (k KubeDNS) checkStubDomains() error {
	seen := map[string]string{}
	for _, domain := range k.domains() {
		if err := CheckName(domain); err != nil {
			return fmt.Errorf("%s: %q: %w", stubDomainsKey, domain, err)
		}
		name := normalName(domain)
		if other, ok := seen[name]; ok {
			return fmt.Errorf("%s: %q and %q are the same domain", stubDomainsKey, other, domain)
		}
		seen[name] = domain
		servers := k.StubDomains[domain]
		if n := len(servers); n == 0 || n > maxServers {
			return fmt.Errorf("%s: %q: %d servers; want 1 to %d", stubDomainsKey, domain, n, maxServers)
		}
		for _, s := range servers {
			if _, err := parseServer(s); err != nil {
				return fmt.Errorf("%s: %q: server %q: %w; %s", stubDomainsKey, domain, s, err, serverForms)
			}
		}
	}
	return nil
}

func (k KubeDNS) checkUpstreams() error {
	if n := len(k.UpstreamNameservers); n > maxUpstreams {
		return fmt.Errorf("%s: %d entries; want %d at most", upstreamsKey, n, maxUpstreams)
	}
	for i, s := range k.UpstreamNameservers {
		if _, err := parseServer(s); err != nil {
			return fmt.Errorf("%s: entry %d, %q: %w; %s", upstreamsKey, i+1, s, err, serverForms)
		}
	}
	return nil
}

// domains returns the stub domains as they are written, sorted by their normal names.
func (k KubeDNS) domains() []string {
	domains := make([]string, 0, len(k.StubDomains))
	for domain := range k.StubDomains {
		domains = append(domains, domain)
	}
	slices.SortFunc(domains, func(a, b string) int {
		return cmp.Or(cmp.Compare(normalName(a), normalName(b)), cmp.Compare(a, b))
	})
	return domains
}

// warnings returns a warning for each server that is accepted but cannot work.
func (k KubeDNS) warnings() []string {
	var warnings []string
	warn := func(servers []string) {
		for _, s := range servers {
			if addr, err := parseServer(s); err == nil {
				warnings = append(warnings, zoneWarning(addr, "the kube-dns ConfigMap")...)
			}
		}
	}
	for _, domain := range k.domains() {
		warn(k.StubDomains[domain])
	}
	warn(k.UpstreamNameservers)
	return warnings
}

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
