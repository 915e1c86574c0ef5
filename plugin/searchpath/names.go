// SPDX-License-Identifier: Apache-2.0

package searchpath

import (
	"slices"

	"github.com/miekg/dns"
)

// question is a name in lower case, with a dot at the end, and A or AAAA.
type question struct {
	name  string
	qtype uint16
}

// depthOfService is the number of labels of a Service's name in front of the zone: NAME.NAMESPACE.svc.
const depthOfService = 3

// maxLabels is the greatest number of labels of a name (RFC 1035, section 3.1: 255 octets).
const maxLabels = 127

// split is dns.Split without an allocation: it appends the result to places.
func split(name string, places []int) []int {
	for off, end := 0, false; !end; off, end = dns.NextLabel(name, off) {
		places = append(places, off)
	}
	return places
}

// cutsAbove returns the names above name at which the zone may be cut. They are x.ZONE, x.svc.ZONE and x.NAMESPACE.svc.ZONE; the
// name next to the zone comes first.
//
// cutsAbove returns nothing for a name with a label that begins with "_". CoreDNS's kubernetes plugin denies
// _tcp.web.NAMESPACE.svc.ZONE although _http._tcp.web.NAMESPACE.svc.ZONE exists. With the option zonal the kubernetes plugin denies
// a headless Service without endpoints although the Service's _zone names exist (plugin/kubernetes/parse.go).
//
// There is no cut below pod.ZONE: an option of the kubernetes plugin makes a name there of any address. There is no cut at dns.ZONE:
// the kubernetes plugin denies dns.ZONE although ns.dns.ZONE exists (plugin/kubernetes/ns.go).
func cutsAbove(name, zone string) []string {
	var places [maxLabels]int
	labels := split(name, places[:0])
	depth := len(labels) - dns.CountLabel(zone)
	if depth < 1 || slices.ContainsFunc(labels[:depth], func(l int) bool { return name[l] == '_' }) {
		return nil
	}
	first, last := 1, 1 // the least and the greatest number of labels of a cut in front of the zone
	switch name[labels[depth-1] : len(name)-len(zone)] {
	case "svc.":
		first, last = 2, depthOfService
	case "pod.", "dns.":
		return nil
	}
	var cuts []string
	for d := first; d <= min(last, depth-1); d++ {
		cuts = append(cuts, name[labels[depth-d]:])
	}
	return cuts
}

// firstLabel returns the first label of name, with the dot behind it.
func firstLabel(name string) string {
	end, _ := dns.NextLabel(name, 0)
	return name[:end]
}
