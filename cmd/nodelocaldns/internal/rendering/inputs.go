// SPDX-License-Identifier: Apache-2.0

// Package rendering makes the Corefile that the cache runs, from the flags, the environment and the files that the flags name;
// it says what is wrong with them; and it keeps the last Corefile that worked.
package rendering

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/coredns/caddy/caddyfile"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/corefiles/kubedns"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/fallback"
	"github.com/nodelocaldns/nodelocaldns/internal/options"
	"github.com/nodelocaldns/nodelocaldns/internal/unicast"
	"github.com/nodelocaldns/nodelocaldns/internal/words"
)

// Inputs are the flags, and where the rendered Corefile's other inputs are.
type Inputs struct {
	Opts       *options.Options
	Getenv     func(string) string // os.Getenv
	ResolvConf string              // path of the node's resolv.conf

	// sawTemplate is the template file that was read. If the file goes away later, that is an error, and no other template is
	// used.
	sawTemplate string
}

func newInputs(o *options.Options) Inputs {
	return Inputs{Opts: o, Getenv: os.Getenv, ResolvConf: "/etc/resolv.conf"}
}

// readFile is os.ReadFile with an error that says what the file is for.
func readFile(what, path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", what, err)
	}
	return text, nil
}

func (in *Inputs) template() (corefiles.Template, error) {
	if in.Opts.Mode == options.Standalone {
		return corefiles.Template{Path: "embedded standalone template", Text: corefiles.Standalone}, nil
	}
	path := in.Opts.BaseCorefile
	text, err := readFile("template", path)
	if errors.Is(err, fs.ErrNotExist) && !in.Opts.Given["basecorefile"] && in.sawTemplate != path {
		return in.withoutBase()
	}
	if err == nil {
		in.sawTemplate = path
	}
	return corefiles.Template{Path: path, Text: text}, err
}

// withoutBase returns the template where the default file does not exist: the file at -conf, which the reference runs then, or
// the embedded template. A file at -conf that this program wrote is not used, since its addresses may be outdated.
func (in *Inputs) withoutBase() (corefiles.Template, error) {
	if path := in.Opts.Conf; path != "" {
		text, err := readFile("Corefile", path)
		switch empty := len(bytes.TrimSpace(text)) == 0; {
		case err == nil && !empty && !bytes.Contains(text, copyMark):
			in.sawTemplate = path
			return corefiles.Template{Path: path, Text: text}, nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return corefiles.Template{}, err
		case in.sawTemplate == path:
			return corefiles.Template{}, fmt.Errorf("reading Corefile: %s is gone, or empty", path)
		}
	}
	return corefiles.Template{Path: "embedded template", Text: corefiles.Kubernetes}, nil
}

// params collects the inputs, without the keys of the kube-dns ConfigMap to skip. An empty key stands for all keys. The notes
// are warnings for the operator.
func (in *Inputs) params(t corefiles.Template, skip []string) (p corefiles.Params, notes []string, err error) {
	o := in.Opts
	p = corefiles.Params{
		LocalIPs:           o.Addresses,
		UpstreamService:    o.UpstreamService,
		ClusterDomain:      o.ClusterDomain,
		PrometheusEndpoint: o.PrometheusAddr,
		StateDir:           o.StateDir,
		Memory:             o.Memory,
		ResolvConf:         corefiles.ResolvConf{Path: in.ResolvConf},
		PacketCache:        o.PacketCache,
		Port:               o.Port,
		Path:               o.Path(),
	}
	if o.Link != hostnet.None {
		p.Link = o.Interface
	}
	p.ResolvConf.Text, err = readFile("the node's nameservers", in.ResolvConf)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // without the file: an error where it is needed
		return p, nil, err
	}
	if p.ClusterDNS, err = in.serviceIP(o.UpstreamService); err != nil {
		return p, nil, err
	}
	kubeDNS, err := in.serviceIP("kube-dns")
	if err != nil {
		return p, nil, err
	}
	dir, notes := in.kubeDNSDir()
	if dir != "" && !slices.Contains(skip, "") {
		if p.KubeDNS, err = kubedns.Read(dir, skip...); err != nil {
			return p, notes, err
		}
	}
	var note string
	p.Stanza, note = in.stanza(t, cmp.Or(kubeDNS, p.ClusterDNS))
	if note != "" {
		notes = append(notes, note)
	}
	return p, notes, nil
}

// ServiceEnv is the environment variable in which Kubernetes tells a pod the ClusterIP of Service name.
func ServiceEnv(name string) string {
	return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) + "_SERVICE_HOST"
}

// serviceIP returns the ClusterIP of Service name in the pod's namespace, or the zero Addr if the environment does not have it:
// only some templates need it.
func (in *Inputs) serviceIP(name string) (netip.Addr, error) {
	env := ServiceEnv(name)
	text := in.Getenv(env)
	if text == "" {
		return netip.Addr{}, nil
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("environment variable %s: %q is not an IP address", env, text)
	}
	if err := unicast.CheckService(addr); err != nil {
		return netip.Addr{}, fmt.Errorf("environment variable %s: %w", env, err)
	}
	return addr.Unmap(), nil
}

// kubeDNSPath is where the kube-dns ConfigMap is, or would be.
func (in *Inputs) kubeDNSPath() string { return cmp.Or(in.Opts.KubeDNSDir, options.DefaultKubeDNSDir) }

// kubeDNSDir returns the directory of the kube-dns ConfigMap, or "" if there is none. The ConfigMap is optional, so its volume
// may appear later.
func (in *Inputs) kubeDNSDir() (dir string, notes []string) {
	dir = in.kubeDNSPath()
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return dir, nil
	}
	if in.Opts.KubeDNSDir != "" {
		notes = append(notes, fmt.Sprintf("No directory %s: serving without the ConfigMap of kube-dns until it appears", dir))
	}
	return "", notes
}

// stanza returns the nodelocal stanza that the flags stand for. It leaves out what no flag says: the plugin has the defaults,
// and the template may have a stanza.
func (in *Inputs) stanza(t corefiles.Template, clusterIP netip.Addr) (s corefiles.Stanza, note string) {
	o := *in.Opts
	s = corefiles.Stanza{Addresses: o.Addresses, Options: o.Stanza()}
	if own := HasDirective(t.Path, t.Text, "nodelocal"); !own && !o.Given["fallback"] {
		o.Fallback, note = in.fallback(o.Addresses, clusterIP)
		s.Options = o.Stanza("fallback")
	}
	return s, note
}

// HasDirective reports whether a server block of the Corefile text has the directive. A text that cannot be parsed has none.
func HasDirective(path string, text []byte, directive string) bool {
	if !bytes.Contains(text, []byte(directive)) {
		return false // without a parse, which logs a line for an import that matches nothing
	}
	blocks, err := caddyfile.Parse(path, bytes.NewReader(text), nil)
	return err == nil && corefiles.Has(blocks, directive)
}

// fallback returns the default for the addresses that answer at the cache's own addresses, among localIPs, while the cache does
// not: the ClusterIP. This is the ClusterIP of kube-dns where it is known: the Service of -upstreamsvc is usually deleted
// together with the cache, and the fallback table stays. With -firewall none there is a table only if -fallback asks for it.
func (in *Inputs) fallback(localIPs []netip.Addr, clusterIP netip.Addr) (addrs []netip.Addr, note string) {
	o := in.Opts
	bare := slices.DeleteFunc(slices.Clone(localIPs), func(a netip.Addr) bool { return !fallback.NothingBehind(a, localIPs, clusterIP) })
	other := slices.DeleteFunc(slices.Clone(bare), func(a netip.Addr) bool { return a.Is4() == clusterIP.Is4() })
	switch {
	case !clusterIP.IsValid() && o.Mode == options.Standalone:
		return nil, "" // a machine without Kubernetes: there is nobody to fall back to
	case o.Firewall == hostnet.None && (len(bare) == 0 || o.Link == hostnet.None):
		return nil, ""
	case o.Firewall == hostnet.None:
		ask := "CLUSTERIP"
		if clusterIP.IsValid() {
			ask = clusterIP.String()
		}
		return nil, fmt.Sprintf("No fallback: with -firewall none (-setupiptables=false) nothing answers at %s while the cache is away; -fallback %s makes a table for that alone, -fallback none says that it is meant",
			words.Join(bare), ask)
	case !clusterIP.IsValid():
		return nil, fmt.Sprintf("No fallback: %s is not set, so nothing answers at %s while the cache is away; see -upstreamsvc and -fallback",
			ServiceEnv(o.UpstreamService), words.Join(localIPs))
	case !slices.ContainsFunc(localIPs, func(a netip.Addr) bool { return a.Is4() == clusterIP.Is4() }):
		return nil, fmt.Sprintf("No fallback: %s is not of the family of %s, at which nothing answers while the cache is away; see -fallback",
			clusterIP, words.Join(localIPs))
	case len(other) > 0:
		note = fmt.Sprintf("No fallback at %s: %s is of the other family, so nothing answers there while the cache is away; name a ClusterIP of each family with -fallback",
			words.Join(other), clusterIP)
	}
	return []netip.Addr{clusterIP}, note
}
