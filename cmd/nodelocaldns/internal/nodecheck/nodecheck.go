// SPDX-License-Identifier: Apache-2.0

package nodecheck

import (
	"context"
	"fmt"
	"slices"
	"sync"
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
	var mu sync.Mutex
	waiting := map[string]bool{}
	done := make(chan struct{}, len(checks))
	for _, c := range checks {
		waiting[c.id] = true
		go func() {
			got := c.run(ctx, e)
			mu.Lock()
			defer mu.Unlock()
			delete(waiting, c.id)
			for _, f := range got {
				f.ID = c.id
				found = append(found, f)
			}
			done <- struct{}{}
		}()
	}
	for range checks {
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
	mu.Lock()
	defer mu.Unlock()
	all := slices.Clone(found)
	for id := range waiting {
		all = append(all, Finding{ID: id, Severity: Warning, What: fmt.Sprintf("this was not found out within %s", Patience),
			Why: "a command or the kernel does not answer", Do: "run the check again, and look at the load of the node"})
	}
	slices.SortFunc(all, compare)
	return all, len(checks)
}

func one(s Severity, what, why, do string) []Finding {
	return []Finding{{Severity: s, What: what, Why: why, Do: do}}
}
