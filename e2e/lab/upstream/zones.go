// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// clusterZone has what the tests ask for. Any name below wild.cluster.local exists.
const clusterZone = `$ORIGIN cluster.local.
$TTL 30
@                       SOA   ns.dns hostmaster 1 7200 1800 86400 5
@                       NS    ns.dns
ns.dns                  A     10.96.0.10
ns.dns                  AAAA  fd00:96::a
dns-version             TXT   "1.1.0"
kubernetes.default.svc  A     10.96.0.1
web.default.svc         A     10.96.7.7
web.default.svc         AAAA  fd00:96::77
_http._tcp.web.default.svc SRV 0 100 80 web.default.svc
alias1.default.svc      CNAME alias2.default.svc
alias2.default.svc      CNAME alias3.default.svc
alias3.default.svc      CNAME web.default.svc
*.wild                  A     10.96.9.9
*.wild                  AAAA  fd00:96::99
`

const reverseZone = `$ORIGIN 10.in-addr.arpa.
$TTL 30
@         SOA   ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5
@         NS    ns.dns.cluster.local.
7.7.96    PTR   web.default.svc.cluster.local.
`

// reverseZone6 is for fd00:96::/32, with web at fd00:96::77.
const reverseZone6 = `$ORIGIN 6.9.0.0.0.0.d.f.ip6.arpa.
$TTL 30
@         SOA   ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5
@         NS    ns.dns.cluster.local.
7.7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0 PTR web.default.svc.cluster.local.
`

// BigRecords is the number of TXT records at big.cluster.local. They are 6 kB, more than a UDP answer of a usual size holds.
const BigRecords = 40

func bigRecords() string {
	var b strings.Builder
	for i := range BigRecords {
		fmt.Fprintf(&b, "big TXT \"%02d-%s\"\n", i, strings.Repeat("x", 140))
	}
	return b.String()
}

// ClusterCorefile is the Corefile of the cluster DNS. It has the zones of the cluster, and forwards all other names to outside.
func ClusterCorefile(t testing.TB, outside netip.Addr) string {
	t.Helper()
	return fmt.Sprintf(`.:53 {
    %s
    errors
    health 127.0.0.1:8080
    file %s cluster.local
    file %s 10.in-addr.arpa
    file %s 6.9.0.0.0.0.d.f.ip6.arpa
    forward . %s
}
slow.cluster.local:53 {
    %s
    errors
    forward . %s {
        prefer_udp
    }
}
`, logDirective,
		harness.WriteFile(t, "cluster.local", clusterZone+bigRecords()),
		harness.WriteFile(t, "reverse", reverseZone), harness.WriteFile(t, "reverse6", reverseZone6),
		outside, logDirective, slowAddress)
}

// ExternalCorefile is the Corefile of the resolver outside. It forwards slow.example.org and 2.0.192.in-addr.arpa to a Slow,
// has A and AAAA for all other names below example.org, and answers NXDOMAIN to the rest.
const ExternalCorefile = `slow.example.org:53 2.0.192.in-addr.arpa:53 {
    ` + logDirective + `
    forward . ` + slowAddress + ` {
        prefer_udp
    }
}
example.org:53 {
    ` + logDirective + `
    template IN A {
        answer "{{ .Name }} 60 IN A 198.51.100.7"
    }
    template IN AAAA {
        answer "{{ .Name }} 60 IN AAAA 2001:db8::7"
    }
}
.:53 {
    ` + logDirective + `
    template IN ANY {
        rcode NXDOMAIN
        authority ". 60 IN SOA ns.outside. hostmaster.outside. 1 7200 1800 86400 60"
    }
}
`
