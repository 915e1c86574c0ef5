// SPDX-License-Identifier: Apache-2.0

package main

// maxReasons bounds reasons: a longer list would say that CoreDNS's tests do not apply.
const maxReasons = 14

// reasons says why a test of test/ does not pass in each variant. A test that passes in all of them must not be in it.
var reasons = map[string]string{
	"TestDynUpdateKeaLifecycle":            "needs Kea's DHCP server",
	"TestEtcdCache":                        needsEtcd,
	"TestEtcdCredentials":                  needsEtcd,
	"TestEtcdStubLoop":                     needsEtcd,
	"TestEtcdStubAndProxyLookup":           needsEtcd,
	"TestZoneExternalCNAMELookupWithProxy": "asks 8.8.8.8, and there is no way out of the network namespace",
	"TestDynUpdatePersistentWire":          countsQueries,
	"TestJSONLoggingProcess":               countsQueries,
	"TestMetricsRefused":                   countsQueries,
	"TestMetricsRewriteRequestSize":        "counts queries, in the metrics of two servers that have one label at port 0 only; packetcache needs a port",
}

const (
	needsEtcd     = "needs a server of etcd, and is not built without the tag etcd"
	countsQueries = "counts queries or updates, and so cannot be asked twice"
)

// notInFront are the tests that are not run with a plugin of this repository in each Corefile, for the reason in reasons.
var notInFront = []string{"TestMetricsRewriteRequestSize"}
