// SPDX-License-Identifier: Apache-2.0

package rendering

import (
	"cmp"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	"github.com/nodelocaldns/nodelocaldns/internal/options"
	"github.com/nodelocaldns/nodelocaldns/internal/proxymode"
	"github.com/nodelocaldns/nodelocaldns/internal/retry"
	"github.com/nodelocaldns/nodelocaldns/internal/words"
)

const (
	// ProxyPatience is how long -localip auto waits for a trace of kube-proxy. A ClusterIP that the cache takes before
	// kube-ipvs0 comes would be on both links.
	ProxyPatience = 10 * time.Second
	// proxyInterval is the time between two looks.
	proxyInterval = 250 * time.Millisecond
)

// A Finder finds the addresses that -localip auto stands for.
type Finder struct {
	Inputs
	detect   func() proxymode.Mode
	patience time.Duration // 0: one look
	say      func(string)
}

// NewFinder returns a Finder that waits for kube-proxy for up to patience, and tells say what the operator is to know.
func NewFinder(o *options.Options, patience time.Duration, say func(string)) Finder {
	return Finder{newInputs(o), proxymode.Detect, patience, say}
}

// Resolve puts the addresses into the options, once. What the node's proxy does later counts at the next start.
func (f Finder) Resolve() error {
	if !f.Opts.Auto {
		return nil
	}
	clusterIP, err := f.serviceIP("kube-dns")
	if err != nil {
		return err
	}
	if !clusterIP.IsValid() {
		f.patience = 0 // nothing depends on the mode
	}
	mode := f.await()
	addrs, why, err := autoAddrs(mode, clusterIP)
	if err != nil {
		return err
	}
	f.Opts.Addresses = addrs
	f.say(fmt.Sprintf("Local addresses %s: %s", words.Join(addrs), why))
	return nil
}

// await returns the mode as soon as there is one.
func (f Finder) await() (mode proxymode.Mode) {
	var say sync.Once
	retry.Until(f.patience, proxyInterval, func() bool {
		if mode = f.detect(); mode != proxymode.None || f.patience == 0 {
			return true
		}
		say.Do(func() {
			f.say(fmt.Sprintf("Waiting up to %s for kube-proxy: its mode says which addresses to take", f.patience))
		})
		return false
	})
	return mode
}

// autoAddrs decides which addresses to take, and says why. clusterIP is the ClusterIP of kube-dns, or the zero Addr. IPVS and
// Cilium answer for ClusterIPs before the node does, so the cache cannot take one there.
func autoAddrs(mode proxymode.Mode, clusterIP netip.Addr) (addrs []netip.Addr, why string, err error) {
	own := []netip.Addr{options.StandaloneIP}
	taken := mode == proxymode.IPVS || mode == proxymode.Cilium
	switch {
	case !clusterIP.IsValid():
		return own, fmt.Sprintf("%s, and %s is not set", mode, ServiceEnv("kube-dns")), nil
	case taken && clusterIP.Is6():
		return nil, "", fmt.Errorf("-localip auto: %s answers for %s itself, and %s is IPv4: give a unique local address (fd00::/8), such as -localip fd00::10",
			mode, clusterIP, options.StandaloneIP)
	case mode == proxymode.IPVS:
		return own, fmt.Sprintf("%s; name it to the pods (clusterDNS of the kubelet)", mode), nil
	case mode == proxymode.Cilium:
		return own, fmt.Sprintf("%s, which translates ClusterIPs before the node sees them: use manifests/overlays/cilium", mode), nil
	case clusterIP.Is6():
		return []netip.Addr{clusterIP}, fmt.Sprintf("%s; %s is IPv4, of no use to pods with IPv6 only", mode, options.StandaloneIP), nil
	}
	return append(own, clusterIP), string(mode), nil
}

// Foreseen returns the network that the flags and the environment ask for, before a file is read. ok is false if they ask for
// none, or if only the Corefile can tell. A stanza in the template may ask for another network. It counts as soon as it is
// read.
func (in *Inputs) Foreseen() (c hostnet.Config, ok bool) {
	o := in.Opts
	c = o.Config
	if o.Auto && len(o.Addresses) == 0 {
		// Before -localip auto is resolved StandaloneIP is certain, unless the ClusterIP is IPv6 (autoAddrs).
		if kubeDNS, _ := in.serviceIP("kube-dns"); kubeDNS.Is6() { // an error is Resolve's to report
			return hostnet.Config{}, false
		}
		c.Addresses = []netip.Addr{options.StandaloneIP}
	}
	if o.Mode == options.AsItIs || !o.Owns() {
		return hostnet.Config{}, false
	}
	if !o.Given["fallback"] {
		// An error is of the environment, and the start's to report.
		kubeDNS, _ := in.serviceIP("kube-dns")
		upstream, _ := in.serviceIP(o.UpstreamService)
		c.Fallback, _ = in.fallback(c.Addresses, cmp.Or(kubeDNS, upstream))
	}
	return c, true
}
