// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/netip"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	"github.com/nodelocaldns/nodelocaldns/plugin/nodelocal"
)

// foresee has the fallback table made before anything is read that may be at
// fault.
func (in *inputs) foresee() error {
	c, ok := in.foreseen()
	if !ok {
		return nil
	}
	return nodelocal.Foresee(c)
}

// foreseen is the network that the flags and the environment ask for. It is not
// ok where they ask for none, or only the Corefile says it. A stanza of the
// template's own may say something else, which counts as soon as it is read.
func (in *inputs) foreseen() (c hostnet.Config, ok bool) {
	o := in.opts
	if o.auto && len(o.localIPs) == 0 {
		return in.foreseenOfAuto()
	}
	if o.mode == runConf || o.link == hostnet.None && o.firewall == hostnet.None {
		return c, false
	}
	c = hostnet.Config{
		Interface: o.interfaceName, Link: o.link, Firewall: o.firewall, Uplink: o.uplink, Addresses: o.localIPs, Port: o.port,
		HealthPort: o.healthPort, Lease: o.lease, Fallback: o.fallback.addrs, FallbackZone: o.fallbackZone,
	}
	if !o.given["fallback"] {
		// An error is of the environment, and the start's to report.
		kubeDNS, _ := in.serviceIP("kube-dns")
		upstream, _ := in.serviceIP(o.upstreamSvc)
		c.Fallback, _ = in.fallback(firstValid(kubeDNS, upstream))
	}
	return c, true
}

// foreseenOfAuto is what is foreseen before -localip auto is resolved: of the
// addresses, standaloneIP is certain, unless the ClusterIP is IPv6 (autoAddrs).
func (in *inputs) foreseenOfAuto() (c hostnet.Config, ok bool) {
	if kubeDNS, _ := in.serviceIP("kube-dns"); kubeDNS.Is6() { // an error is resolve's to report
		return c, false
	}
	o, certain := *in.opts, *in
	o.localIPs, certain.opts = []netip.Addr{standaloneIP}, &o
	return certain.foreseen()
}
