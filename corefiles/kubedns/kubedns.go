// SPDX-License-Identifier: Apache-2.0

// Package kubedns reads the kube-dns ConfigMap and checks what it says.
package kubedns

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/nodelocaldns/nodelocaldns/internal/words"
)

const (
	// StubDomainsKey is the key of an object: a stub domain, and its servers. UpstreamsKey is that of a list of servers.
	StubDomainsKey = "stubDomains"
	UpstreamsKey   = "upstreamNameservers"
	// MaxSize bounds each key, in octets: Kubernetes stores no ConfigMap beyond 1 MiB.
	MaxSize = 1 << 20

	maxUpstreams = 3  // kube-dns's own limit
	maxServers   = 15 // the limit of CoreDNS's forward

	wantObject  = `an object such as {"acme.example": ["192.0.2.1"]}`
	wantList    = `a list of strings such as ["192.0.2.1"]`
	serverForms = "want IP, IP:PORT or [IPv6]:PORT, with or without dns:// or tls:// before it"
)

// Keys are the keys of the ConfigMap.
var Keys = []string{StubDomainsKey, UpstreamsKey}

// Config is the content of the ConfigMap.
type Config struct {
	StubDomains         map[string][]string // domain to servers
	UpstreamNameservers []string
}

// An Error says that the key Key of the ConfigMap cannot be used; if Key is empty, that no key can.
type Error struct {
	Key string
	Err error
}

// Error implements error.
func (e Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e Error) Unwrap() error { return e.Err }

// Parse parses the values of the keys stubDomains and upstreamNameservers, which are nil or empty if a key is absent. An error
// is an Error and begins with the key.
//
// Parse also refuses entries that kube-dns accepts and CoreDNS refuses. k8s-dns-node-cache passed such an entry on, and the
// cache of every node went into a crash loop (kubernetes/dns#539).
func Parse(stubDomains, upstreamNameservers []byte) (Config, error) {
	var k Config
	var err error
	if k.StubDomains, err = parseStubDomains(stubDomains); err != nil {
		return Config{}, Error{StubDomainsKey, fmt.Errorf("%s%w", StubDomainsKey, err)}
	}
	if err := parseJSON(upstreamNameservers, &k.UpstreamNameservers, wantList); err != nil {
		return Config{}, Error{UpstreamsKey, fmt.Errorf("%s%w", UpstreamsKey, err)}
	}
	return k, k.Check()
}

// parseStubDomains reads the object member by member: json.Unmarshal would silently use the last of duplicate keys.
func parseStubDomains(data []byte) (map[string][]string, error) {
	var object map[string]json.RawMessage
	if err := parseJSON(data, &object, wantObject); err != nil || object == nil {
		return nil, err
	}
	stubs := make(map[string][]string, len(object))
	dec := json.NewDecoder(bytes.NewReader(data))
	_, _ = dec.Token() // the opening brace; that data is an object of JSON is known
	for dec.More() {
		key, _ := dec.Token()
		domain, _ := key.(string)
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

// parseJSON parses data into v, and does nothing if data is empty. An error begins with the position. The caller puts the name
// of the key before it.
func parseJSON(data []byte, v any, want string) error {
	if len(data) > MaxSize {
		return fmt.Errorf(": %d bytes are more than %d", len(data), MaxSize)
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

// unwanted replaces the Go types in an error of encoding/json with want, an example for the ConfigMap.
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

// Check returns an Error for the first entry that cannot be used.
func (k Config) Check() error {
	if err := k.checkStubDomains(); err != nil {
		return Error{StubDomainsKey, err}
	}
	if n := len(k.UpstreamNameservers); n > maxUpstreams {
		return Error{UpstreamsKey, fmt.Errorf("%s: %d entries; want %d at most", UpstreamsKey, n, maxUpstreams)}
	}
	for _, e := range k.entries() {
		if e.fault != nil {
			return Error{e.key, fmt.Errorf("%s: %w; %s", e.place, e.fault, serverForms)}
		}
	}
	return nil
}

// An entry is a server of the ConfigMap.
type entry struct {
	key   string
	place string // for messages: begins with the key and names the server
	addr  netip.Addr
	fault error // why there is no addr
}

// entries returns all servers: those of stub domains, and then the upstreams.
func (k Config) entries() (list []entry) {
	add := func(key, server, format string, args ...any) {
		addr, err := words.ParseServer(server)
		list = append(list, entry{key, key + ": " + fmt.Sprintf(format, args...), addr, err})
	}
	for _, domain := range k.Domains() {
		for _, s := range k.StubDomains[domain] {
			add(StubDomainsKey, s, "%q: server %q", domain, s)
		}
	}
	for i, s := range k.UpstreamNameservers {
		add(UpstreamsKey, s, "entry %d, %q", i+1, s)
	}
	return list
}

func (k Config) checkStubDomains() error {
	seen := map[string]string{}
	for _, domain := range k.Domains() {
		if err := words.CheckName(domain); err != nil {
			return fmt.Errorf("%s: %q: %w", StubDomainsKey, domain, err)
		}
		name := words.Normal(domain)
		if other, ok := seen[name]; ok {
			return fmt.Errorf("%s: %q and %q are the same domain", StubDomainsKey, other, domain)
		}
		seen[name] = domain
		if n := len(k.StubDomains[domain]); n == 0 || n > maxServers {
			return fmt.Errorf("%s: %q: %d servers; want 1 to %d", StubDomainsKey, domain, n, maxServers)
		}
	}
	return nil
}

// CheckLoops returns an Error if isLocal holds for a server: the server is this cache. Such a server is an error here, and left
// out of resolv.conf: an operator wrote the ConfigMap for this cluster.
func (k Config) CheckLoops(isLocal func(netip.Addr) bool) error {
	for _, e := range k.entries() {
		if isLocal(e.addr) {
			return Error{e.key, fmt.Errorf("checking kube-dns ConfigMap: %s: it is an address of this cache, which would ask itself", e.place)}
		}
	}
	return nil
}

// Domains returns the stub domains in the spelling of the ConfigMap, sorted by their normal names.
func (k Config) Domains() []string {
	return slices.SortedFunc(maps.Keys(k.StubDomains), func(a, b string) int {
		return cmp.Or(cmp.Compare(words.Normal(a), words.Normal(b)), cmp.Compare(a, b))
	})
}

// Warnings returns a warning for each server that Check accepts but forward cannot reach.
func (k Config) Warnings() (warnings []string) {
	for _, e := range k.entries() {
		warnings = append(warnings, words.ZoneWarning(e.addr, "the kube-dns ConfigMap")...)
	}
	return warnings
}

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
