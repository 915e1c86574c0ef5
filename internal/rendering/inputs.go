// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/coredns/caddy/caddyfile"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/internal/unicast"
)

// The places that the reference's manifests mount, and the node's own file.
const (
	defaultBaseCorefile = "/etc/coredns/Corefile.base"
	defaultKubeDNSDir   = "/etc/kube-dns"
	resolvConf          = "/etc/resolv.conf"
)

// inputs reads what the rendered Corefile depends on besides the flags.
type inputs struct {
	opts       *options
	getenv     func(string) string
	resolvConf string

	// sawTemplate is the template's file that was read. When it goes away
	// later that is an error, and no reason to serve another one instead.
	sawTemplate string
}

func newInputs(o *options) inputs {
	return inputs{opts: o, getenv: os.Getenv, resolvConf: resolvConf}
}

// readFile names what could not be read, which the path alone does not.
func readFile(what, path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", what, err)
	}
	return text, nil
}

func (in *inputs) template() (corefiles.Template, error) {
	if in.opts.mode == runStandalone {
		return corefiles.Template{Path: "embedded standalone template", Text: corefiles.Standalone}, nil
	}
	path := in.opts.baseCorefile
	text, err := readFile("template", path)
	if errors.Is(err, fs.ErrNotExist) && !in.opts.given["basecorefile"] && in.sawTemplate != path {
		return in.withoutBase()
	}
	if err == nil {
		in.sawTemplate = path
	}
	return corefiles.Template{Path: path, Text: text}, err
}

// withoutBase returns the template where the default one is not there: what is
// at -conf, which the reference runs then, or the embedded one. A copy of ours
// at -conf is none, as it has the addresses of another day in it.
func (in *inputs) withoutBase() (corefiles.Template, error) {
	if path := in.opts.conf; path != "" {
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

// params collects the inputs, without the keys of the kube-dns ConfigMap to skip;
// an empty one is all. The notes are for the operator.
func (in *inputs) params(t corefiles.Template, skip []string) (p corefiles.Params, notes []string, err error) {
	o := in.opts
	p = corefiles.Params{
		LocalIPs:           o.localIPs,
		UpstreamService:    o.upstreamSvc,
		ClusterDomain:      o.clusterDomain,
		PrometheusEndpoint: o.prometheusAddr,
		StateDir:           o.stateDir,
		Memory:             o.memory,
		ResolvConf:         corefiles.ResolvConf{Path: in.resolvConf},
		PacketCache:        o.packetCache,
		Port:               o.port,
		Path:               o.path(),
	}
	if o.link != "none" {
		p.Link = o.interfaceName
	}
	p.ResolvConf.Text, err = readFile("the node's nameservers", in.resolvConf)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // without the file: an error where it is needed
		return p, nil, err
	}
	if p.ClusterDNS, err = in.serviceIP(o.upstreamSvc); err != nil {
		return p, nil, err
	}
	kubeDNS, err := in.serviceIP("kube-dns")
	if err != nil {
		return p, nil, err
	}
	dir, note := in.kubeDNSDir()
	if note != "" {
		notes = append(notes, note)
	}
	if dir != "" && !slices.Contains(skip, "") {
		if p.KubeDNS, err = corefiles.ReadKubeDNS(dir, skip...); err != nil {
			return p, notes, err
		}
	}
	p.Stanza, note = in.stanza(t, firstValid(kubeDNS, p.ClusterDNS))
	if note != "" {
		notes = append(notes, note)
	}
	return p, notes, nil
}

// serviceEnv is the environment variable in which Kubernetes tells a pod the
// ClusterIP of Service name.
func serviceEnv(name string) string {
	return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) + "_SERVICE_HOST"
}

// serviceIP returns the ClusterIP of Service name in the pod's namespace, or the
// zero Addr if the environment does not have it: only some templates need it.
func (in *inputs) serviceIP(name string) (netip.Addr, error) {
	env := serviceEnv(name)
	text := in.getenv(env)
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

// kubeDNSDir returns the directory of the kube-dns ConfigMap, or "" if there is
// none. The ConfigMap is optional, so its volume may appear later.
func (in *inputs) kubeDNSDir() (dir, note string) {
	dir = in.opts.kubeDNSDir
	if dir == "" {
		dir = defaultKubeDNSDir
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return dir, ""
	}
	if in.opts.kubeDNSDir != "" {
		note = fmt.Sprintf("No directory %s: serving without the ConfigMap of kube-dns until it appears", dir)
	}
	return "", note
}

// stanza is the nodelocal stanza that the flags stand for. What no flag says is
// left to the plugin's defaults, or to a stanza in the template.
func (in *inputs) stanza(t corefiles.Template, clusterIP netip.Addr) (s corefiles.Stanza, note string) {
	o := in.opts
	s = corefiles.Stanza{Addresses: o.localIPs, SkipTeardown: o.skipTeardown}
	if o.given["interfacename"] {
		s.Interface = o.interfaceName
	}
	if o.given["link"] || o.link == "none" {
		s.Link = o.link
	}
	if o.given["firewall"] || o.firewall == "none" {
		s.Firewall = o.firewall
	}
	if o.given["uplink"] {
		s.Uplink = o.uplink
	}
	if o.given["lease"] {
		s.Lease = &o.lease
	}
	if o.given["syncinterval"] {
		s.Resync = &o.syncInterval
	}
	if o.given["health-port"] {
		s.HealthPort = o.healthPort
	}
	if o.given["fallback-zone"] {
		s.FallbackZone = o.fallbackZone
	}
	switch {
	case o.given["fallback"]:
		s.Fallback, s.NoFallback = o.fallback.addrs, o.fallback.off
	case !hasStanza(t):
		s.Fallback, note = in.fallback(clusterIP)
		s.NoFallback = len(s.Fallback) == 0
	}
	return s, note
}

// hasStanza reports whether the template's author wrote a nodelocal stanza. A
// template that cannot be parsed has none; Render says what is wrong with it.
func hasStanza(t corefiles.Template) bool {
	if !bytes.Contains(t.Text, []byte("nodelocal")) {
		return false // without a parse, which logs a line for an import that matches nothing
	}
	blocks, err := caddyfile.Parse(t.Path, bytes.NewReader(t.Text), nil)
	return err == nil && slices.ContainsFunc(blocks, func(b caddyfile.ServerBlock) bool {
		return len(b.Tokens["nodelocal"]) > 0
	})
}

// fallback returns the default for the addresses that answer while the cache
// does not, the ClusterIP. It is that of kube-dns where there is one: the Service
// of -upstreamsvc is usually deleted together with the cache, and the fallback
// table stays. Who wants no rules (-setupiptables=false) does not get this one
// either unless -fallback asks for it.
func (in *inputs) fallback(clusterIP netip.Addr) (addrs []netip.Addr, note string) {
	o := in.opts
	switch {
	case !clusterIP.IsValid() && o.mode == runStandalone:
		return nil, "" // a machine without Kubernetes: there is nobody to fall back to
	case o.firewall == "none":
		return nil, o.bareNote(clusterIP)
	case !clusterIP.IsValid():
		return nil, fmt.Sprintf("No fallback: %s is not set, so nothing answers at %s while the cache is away; see -upstreamsvc and -fallback",
			serviceEnv(o.upstreamSvc), join(o.localIPs))
	case !slices.ContainsFunc(o.localIPs, func(a netip.Addr) bool { return a.Is4() == clusterIP.Is4() }):
		return nil, fmt.Sprintf("No fallback: %s is not of the family of %s, at which nothing answers while the cache is away; see -fallback",
			clusterIP, join(o.localIPs))
	}
	if bare := uncovered(o.localIPs, clusterIP); len(bare) > 0 {
		note = fmt.Sprintf("No fallback at %s: %s is of the other family, so nothing answers there while the cache is away; name a ClusterIP of each family with -fallback",
			join(bare), clusterIP)
	}
	return []netip.Addr{clusterIP}, note
}

// bareNote says what -setupiptables=false means for addresses of our own, which go away with the cache.
func (o *options) bareNote(clusterIP netip.Addr) string {
	bare := slices.DeleteFunc(slices.Clone(o.localIPs), func(a netip.Addr) bool { return !a.IsLinkLocalUnicast() })
	if len(bare) == 0 || o.link == "none" {
		return ""
	}
	ask := "CLUSTERIP"
	if clusterIP.IsValid() {
		ask = clusterIP.String()
	}
	return fmt.Sprintf("No fallback: with -firewall none (-setupiptables=false) nothing answers at %s while the cache is away; -fallback %s makes a table for that alone, -fallback none says that it is meant",
		join(bare), ask)
}

// uncovered returns the cache's own addresses of the other family than clusterIP.
// In IPv4 those are link-local. In IPv6 it is the first of several; a single one
// is the ClusterIP, if the cache serves at one in IPv4, too.
func uncovered(localIPs []netip.Addr, clusterIP netip.Addr) (bare []netip.Addr) {
	var six []netip.Addr
	services := false
	for _, a := range localIPs {
		switch {
		case a.Is6():
			six = append(six, a)
		case !a.IsLinkLocalUnicast():
			services = true
		case clusterIP.Is6():
			bare = append(bare, a)
		}
	}
	if clusterIP.Is4() && (len(six) > 1 || len(six) == 1 && !services) {
		bare = append(bare, six[0])
	}
	return bare
}

func firstValid(a, b netip.Addr) netip.Addr {
	if a.IsValid() {
		return a
	}
	return b
}

func join(addrs []netip.Addr) string {
	var b strings.Builder
	for i, a := range addrs {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(a.String())
	}
	return b.String()
}
