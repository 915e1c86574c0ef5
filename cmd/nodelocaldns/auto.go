// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/proxymode"
)

const (
	// proxyPatience is how long -localip auto waits for a trace of kube-proxy:
	// a ClusterIP that is taken before kube-ipvs0 comes would be on both.
	proxyPatience = 10 * time.Second
	// proxyInterval is the time between two looks.
	proxyInterval = 250 * time.Millisecond
)

// finder finds the addresses that -localip auto stands for.
type finder struct {
	inputs
	detect   func() proxymode.Mode
	patience time.Duration // 0: one look
	say      func(string)
}

func newFinder(o *options, patience time.Duration, say func(string)) finder {
	return finder{newInputs(o), proxymode.Detect, patience, say}
}

// resolve puts the addresses into the options, once: what the node's proxy does
// later is for the next start.
func (f finder) resolve() error {
	if !f.opts.auto {
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
	f.opts.localIPs = addrs
	if err := f.opts.validate(); err != nil {
		return usageError{err}
	}
	f.say(fmt.Sprintf("Local addresses %s: %s", join(addrs), why))
	return nil
}

// await returns the mode as soon as there is one.
func (f finder) await() proxymode.Mode {
	deadline := time.Now().Add(f.patience)
	for first := true; ; first = false {
		mode := f.detect()
		if mode != proxymode.None || !time.Now().Before(deadline) {
			return mode
		}
		if first {
			f.say(fmt.Sprintf("Waiting up to %s for kube-proxy: its mode says which addresses to take", f.patience))
		}
		time.Sleep(proxyInterval)
	}
}

// autoAddrs decides which addresses to take, and says why. clusterIP is that of
// kube-dns, or the zero Addr. Where somebody else answers for every ClusterIP
// before, or in the place of, the node itself, it cannot be one of them.
func autoAddrs(mode proxymode.Mode, clusterIP netip.Addr) (addrs []netip.Addr, why string, err error) {
	own := []netip.Addr{standaloneIP}
	taken := mode == proxymode.IPVS || mode == proxymode.Cilium
	switch {
	case !clusterIP.IsValid():
		return own, fmt.Sprintf("%s, and %s is not set", mode, serviceEnv("kube-dns")), nil
	case taken && clusterIP.Is6():
		return nil, "", fmt.Errorf("-localip auto: %s answers for %s itself, and %s is IPv4: give a unique local address (fd00::/8), such as -localip fd00::10",
			mode, clusterIP, standaloneIP)
	case mode == proxymode.IPVS:
		return own, fmt.Sprintf("%s; name it to the pods (clusterDNS of the kubelet)", mode), nil
	case mode == proxymode.Cilium:
		return own, fmt.Sprintf("%s, which translates ClusterIPs before the node sees them: use manifests/overlays/cilium", mode), nil
	case clusterIP.Is6():
		return []netip.Addr{clusterIP}, fmt.Sprintf("%s; %s is IPv4, of no use to pods with IPv6 only", mode, standaloneIP), nil
	}
	return append(own, clusterIP), string(mode), nil
}
