// SPDX-License-Identifier: Apache-2.0

package rendering

import (
	"net/netip"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	"github.com/nodelocaldns/nodelocaldns/internal/options"
)

// Foreseen returns the network that the flags and the environment ask for, before a file is read. It is not ok where they ask
// for none, or only the Corefile says it. A stanza of the template's own may say something else, which counts as soon as it is
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
		c.Fallback, _ = in.fallback(c.Addresses, firstValid(kubeDNS, upstream))
	}
	return c, true
}
