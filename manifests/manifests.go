// SPDX-License-Identifier: Apache-2.0

// Package manifests holds the YAML files of this directory, and fills them in.
//
// Kustomize reads the files unchanged. nodelocaldns.yaml, for users of the sed lines in the Kubernetes guide, and the output of
// "nodelocaldns render manifests" are made from the same files by replacing words.
package manifests

//go:generate go test . -run Current -update

import (
	"embed"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

//go:embed common base overlays/cilium
var files embed.FS

// Mode is the program that sends DNS to the cache.
type Mode string

// The modes. IPTables is also for kube-proxy in nftables mode.
const (
	IPTables Mode = "iptables"
	IPVS     Mode = "ipvs"
	Cilium   Mode = "cilium"
)

// Image is the image in the files.
const Image = "ghcr.io/nodelocaldns/nodelocaldns:dev"

// DefaultImage is the image that render manifests names without the flag -image. `make image` sets it to the name of the image
// that the program becomes a part of.
var DefaultImage = Image

// Values holds the properties of a cluster.
type Values struct {
	Mode          Mode
	LocalIPs      []netip.Addr // the cache's own addresses; not used with Cilium
	DNSServers    []netip.Addr // the ClusterIPs of kube-dns, which the cache takes over in mode iptables
	Service       string       // the name of kube-dns; used with Cilium only
	ClusterDomain string
	Image         string
}

// Render returns the manifest for a cluster. The cache replaces the remaining variables when it starts.
func Render(v Values) (string, error) {
	if v.Mode == Cilium {
		return strings.NewReplacer(
			Image, v.Image,
			"- cluster.local", "- "+v.ClusterDomain,
			"serviceName: kube-dns", "serviceName: "+v.Service,
		).Replace(join(parts(template(), "overlays/cilium/daemonset.yaml", "overlays/cilium/policy.yaml"))), nil
	}
	addrs, err := v.addresses()
	if err != nil {
		return "", err
	}
	text := strings.NewReplacer(
		localDNS+","+dnsServer+"\"\n", list(addrs, ",")+"\"\n"+v.fallback(),
		localDNS+","+dnsServer, list(addrs, ","),
		localDNS+" "+dnsServer, list(addrs, " "),
		localDNS+":", host(addrs[0])+":",
		localDNS, addrs[0].String(),
		dnsDomain, v.ClusterDomain,
		Image, v.Image,
	).Replace(singleFile())
	return text, nil
}

// fallback returns the arguments that name a ClusterIP of each family, if the cache has own addresses of both families. The cache
// itself can find a ClusterIP of one family only.
func (v Values) fallback() string {
	if !both(v.LocalIPs) || !both(v.DNSServers) {
		return ""
	}
	return "        - -fallback\n        - \"" + list(v.DNSServers, ",") + "\"\n"
}

// both reports whether addrs has addresses of both families.
func both(addrs []netip.Addr) bool {
	return slices.ContainsFunc(addrs, netip.Addr.Is4) && slices.ContainsFunc(addrs, netip.Addr.Is6)
}

// addresses returns the addresses of the cache. Its own addresses come first: the probes for health and readiness use the first.
func (v Values) addresses() ([]netip.Addr, error) {
	switch {
	case len(v.LocalIPs) == 0:
		return nil, errors.New("the cache has no address of its own")
	case v.Mode == IPVS:
		return v.LocalIPs, nil
	case v.Mode != IPTables:
		return nil, fmt.Errorf("unknown mode %q", v.Mode)
	case len(v.DNSServers) == 0:
		return nil, errors.New("kube-dns has no ClusterIP")
	}
	return append(v.LocalIPs[:len(v.LocalIPs):len(v.LocalIPs)], v.DNSServers...), nil
}

func list(addrs []netip.Addr, sep string) string {
	words := make([]string, len(addrs))
	for i, a := range addrs {
		words[i] = a.String()
	}
	return strings.Join(words, sep)
}

// host returns a in the form before a port.
func host(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}
