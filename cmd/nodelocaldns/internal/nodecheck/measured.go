// SPDX-License-Identifier: Apache-2.0

package nodecheck

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// enough is the number of answers from which a share says something.
const enough = 1000

// sums adds up a counter of the running cache by the values of a label; nil without a running cache.
func (e *Env) sums(ctx context.Context, metric, label string) map[string]float64 {
	if !e.Running || e.Metrics == "" {
		return nil
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+e.Metrics+"/metrics", nil)
	if err != nil {
		return nil
	}
	page, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil // whether the port is the cache's is another check's
	}
	defer page.Body.Close()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(page.Body)
	if err != nil || families[metric] == nil {
		return nil
	}
	sums := map[string]float64{}
	for _, m := range families[metric].GetMetric() {
		sums[valueOf(m, label)] += m.GetCounter().GetValue()
	}
	return sums
}

func valueOf(m *dto.Metric, label string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == label {
			return l.GetValue()
		}
	}
	return ""
}

// share returns the share of one value in percent, and false if the running cache has not been asked enough.
func (e *Env) share(ctx context.Context, metric, label, value string) (percent int, ok bool) {
	all := 0.0
	sums := e.sums(ctx, metric, label)
	for _, n := range sums {
		all += n
	}
	if all < enough {
		return 0, false
	}
	return int(100 * sums[value] / all), true
}

// ndots looks how many of the answers of the running cache deny a name: most such questions are made by search lists.
func ndots(ctx context.Context, e *Env) []Finding {
	percent, ok := e.share(ctx, "coredns_dns_responses_total", "rcode", "NXDOMAIN")
	if !ok || percent < 50 {
		return nil
	}
	return one(Advice, fmt.Sprintf("%d %% of the answers say that there is no such name", percent),
		"with ndots:5 a pod asks for a name outside the cluster with each domain of its search list first",
		"write names with a dot at their end, or give pods that ask much dnsConfig with ndots 2; searchpath in the template answers most of these questions on the node")
}

// aaaa looks how many of the questions are for addresses that no pod of the node can use.
func aaaa(ctx context.Context, e *Env) []Finding {
	if e.routesIPv6() {
		return nil
	}
	percent, ok := e.share(ctx, "coredns_dns_requests_total", "type", "AAAA")
	if !ok || percent < 20 {
		return nil
	}
	return one(Advice, fmt.Sprintf("%d %% of the questions are for IPv6 addresses, and the node has no default route for IPv6", percent),
		"no pod can use the answers, and each costs a question to an upstream at a miss", "use the component manifests/components/no-aaaa: the cache denies AAAA itself")
}

// routesIPv6 reports whether there is a default route for IPv6 that is not the kernel's refusal.
func (e *Env) routesIPv6() bool {
	for line := range strings.Lines(e.file("/thread-self/net/ipv6_route")) {
		f := strings.Fields(line)
		if len(f) == 10 && strings.Trim(f[0], "0") == "" && f[1] == "00" && f[9] != "lo" {
			return true
		}
	}
	return false
}
