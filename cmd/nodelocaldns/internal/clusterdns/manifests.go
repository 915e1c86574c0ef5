// SPDX-License-Identifier: Apache-2.0

package clusterdns

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/nodelocaldns/nodelocaldns/cmd/nodelocaldns/internal/kubectl"
	"github.com/nodelocaldns/nodelocaldns/internal/options"
	"github.com/nodelocaldns/nodelocaldns/manifests"
)

// manifestOptions is the command line of render manifests. What is empty is asked of the cluster.
type manifestOptions struct {
	mode, kubeconfig, context, clusterDomain, image string
	localIPs, dnsServers                            []netip.Addr

	given map[string]bool
}

func (o *manifestOptions) flagSet() *flag.FlagSet {
	fs := options.NewFlagSet("render manifests")
	options.Define(fs, "mode", "auto", options.OneOf("auto", "iptables", "nftables", "ipvs", "cilium"), &o.mode,
		"`MODE` of the cluster's Services: auto, iptables, nftables, ipvs or cilium")
	options.Define(fs, "localip", options.StandaloneIP.String(), options.Addrs, &o.localIPs, "`IP,...`: the cache's own addresses")
	options.Define(fs, "dnsserver", "", options.Addrs, &o.dnsServers, "`IP,...`: the ClusterIPs of kube-dns, which the cache takes over in mode iptables")
	options.Define(fs, "clusterdomain", "", options.Domain, &o.clusterDomain, "`DOMAIN` of the cluster")
	options.Define(fs, "image", manifests.DefaultImage, parseImage, &o.image, "`IMAGE` of the cache")
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "`FILE` that tells kubectl of the cluster")
	fs.StringVar(&o.context, "context", "", "`NAME` of the context in it")
	return fs
}

const manifestsHead = `Usage:
  nodelocaldns render manifests [FLAG...] | kubectl apply -f -

It prints the manifest of the cache. What no flag says it asks the cluster, through kubectl, and tells on stderr.

`

// RenderManifests is the subcommand render manifests with args. It prints the manifest for a cluster. What no flag says it asks
// the cluster, through kubectl, and it tells what it found.
func RenderManifests(args []string, stdout, stderr io.Writer) error {
	o := manifestOptions{given: make(map[string]bool)}
	fs := o.flagSet()
	if helped, err := options.ParseSub(fs, args, manifestsHead, stdout); helped || err != nil {
		return err
	}
	fs.Visit(func(f *flag.Flag) { o.given[f.Name] = true })
	c := cluster{kubectl: kubectl.Kubectl{Config: o.kubeconfig, Context: o.context}, found: func(what, where string) {
		fmt.Fprintf(stderr, "nodelocaldns: found %s in %s\n", what, where)
	}}
	v, err := o.values(c)
	if err != nil {
		return err
	}
	text, err := manifests.Render(v)
	if err != nil {
		return err
	}
	_, err = io.WriteString(stdout, text)
	return err
}

// values completes what the flags say with what c says.
func (o *manifestOptions) values(c cluster) (v manifests.Values, err error) {
	v = manifests.Values{Mode: manifests.Mode(o.mode), LocalIPs: o.localIPs, DNSServers: o.dnsServers,
		Service: "kube-dns", ClusterDomain: o.clusterDomain, Image: o.image}
	switch o.mode {
	case "auto":
		if v.Mode, err = c.mode(); err != nil {
			return v, fmt.Errorf("finding who balances the cluster's Services: %w; name it with -mode", err)
		}
	case "nftables":
		v.Mode = manifests.IPTables
	}
	if err := o.checkMode(v.Mode); err != nil {
		return v, err
	}
	if v.Mode == manifests.IPTables && len(v.DNSServers) == 0 {
		if _, v.DNSServers, err = c.dnsService(); err != nil {
			return v, fmt.Errorf("finding the ClusterIP of kube-dns: %w; name it with -dnsserver", err)
		}
	}
	if v.Mode == manifests.Cilium && o.mode == "auto" {
		if v.Service, _, err = c.dnsService(); err != nil {
			return v, fmt.Errorf("finding the Service to redirect: %w; with -mode cilium it is kube-dns", err)
		}
	}
	if v.ClusterDomain == "" {
		if v.ClusterDomain, err = c.domain(); err != nil {
			return v, fmt.Errorf("finding the cluster domain: %w; name it with -clusterdomain", err)
		}
	}
	return v, o.checkFamily(v)
}

// checkMode refuses flags that change nothing in mode: who gives them expects something of them.
func (o *manifestOptions) checkMode(mode manifests.Mode) error {
	without := map[manifests.Mode][]string{manifests.IPVS: {"dnsserver"}, manifests.Cilium: {"dnsserver", "localip"}}
	for _, name := range without[mode] {
		if o.given[name] {
			return options.UsageError{Err: fmt.Errorf("-%s has no effect in mode %s", name, mode)}
		}
	}
	return nil
}

// checkFamily refuses the default address where no pod could ask it.
func (o *manifestOptions) checkFamily(v manifests.Values) error {
	if v.Mode != manifests.IPTables || o.given["localip"] || slices.ContainsFunc(v.DNSServers, netip.Addr.Is4) {
		return nil
	}
	return fmt.Errorf("kube-dns has IPv6 addresses only: choose an address of the cache with -localip, such as fd00::20:10")
}

func parseImage(s string) (string, error) {
	if s == "" || strings.ContainsAny(s, " \t\n\"'#{}") {
		return "", errors.New("not the name of an image")
	}
	return s, nil
}
