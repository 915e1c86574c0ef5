// SPDX-License-Identifier: Apache-2.0

package nodecheck

import (
	"context"
	"slices"
	"time"
)

// Patience bounds all checks together.
const Patience = 4500 * time.Millisecond

// A check looks at one thing.
type check struct {
	id  string
	run func(context.Context, *Env) []Finding
}

// checks are all there are. They run side by side.
var checks = []check{
	{"capabilities", capabilities},
	{"link", linkKind},
	{"link-name", linkName},
	{"address-taken", addressTaken},
	{"kube-proxy", kubeProxy},
	{"firewall", firewall},
	{"conntrack", conntrackTable},
	{"ipv6", ipv6},
	{"port", ports},
	{"other-cache", otherCache},
	{"resolv.conf", resolvConf},
	{"cluster-dns", clusterDNS},
	{"cluster-domain", clusterDomain},
	{"double-ttl", doubleTTL},
	{"ndots", ndots},
	{"aaaa", aaaa},
	{"networkmanager", networkManager},
	{"networkd", networkd},
}

// Run runs all checks, and returns what they found and their number. It takes Patience at most.
func Run(ctx context.Context, e *Env) (found []Finding, ran int) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	type result struct {
		id    string
		found []Finding
	}
	results := make(chan result, len(checks)) // with room for all: nobody waits for a check that comes too late
	waiting := map[string]bool{}
	for _, c := range checks {
		waiting[c.id] = true
		go func() { results <- result{c.id, c.run(ctx, e)} }()
	}
	for late := false; len(waiting) > 0 && !late; {
		select {
		case r := <-results:
			delete(waiting, r.id)
			for _, f := range r.found {
				f.ID = r.id
				found = append(found, f)
			}
		case <-ctx.Done():
			late = true
		}
	}
	for id := range waiting {
		found = append(found, Finding{ID: id, Severity: Warning, What: "this was not found out in time",
			Why: "a command or the kernel does not answer", Do: "run the check again, and look at the load of the node"})
	}
	slices.SortFunc(found, compare)
	return found, len(checks)
}

func one(s Severity, what, why, do string) []Finding {
	return []Finding{{Severity: s, What: what, Why: why, Do: do}}
}
