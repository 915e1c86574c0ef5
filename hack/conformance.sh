#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs Kubernetes' own DNS tests on the cluster of e2e/cluster, without the cache and with it: hack/conformance.sh [ARGUMENT OF go test...]
# The results are in bin/conformance. Without arguments all modes are run, and docs/conformance.md has the table afterwards.
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/cluster.sh
images=e2e.local/conformance # the suite's registry, see KUBE_TEST_REPO_LIST

# tag NAME: the tag of an image, as the suite asks for it.
tag() {
	"$bin/conformance.test" -list-images | sed -n "s|^$images/$1:||p" | sort -V | tail -1
}

# test_image NAME ARGUMENT...: an image with what the probes of the suite call.
test_image() {
	local name=$1
	shift
	go run -C hack/image . -name "$images/$name:$(tag "$name")" -debs ../../e2e/cluster/kubernetes/conformance/debian.lock \
		-cache "$PWD/bin/cache" -max 250 -take "/bin/*" -take /usr/share/libc-bin/nsswitch.conf \
		-link /usr/share/libc-bin/nsswitch.conf=/etc/nsswitch.conf -o "$bin/$name.tar" "$@"
}

build() {
	build_cluster
	go_build e2e/cluster/kubernetes conformance.test "" ./conformance
	go_build e2e/cluster/kubernetes ginkgo "" github.com/onsi/ginkgo/v2/ginkgo
	go_build e2e/cluster/kubernetes agnhost "" k8s.io/kubernetes/test/images/agnhost
	test_image agnhost -link nc.openbsd=/bin/nc -file "$bin/agnhost=/agnhost" -file "$bin/clusterdns=/coredns" -entrypoint /agnhost
	test_image glibc-dns-testing
}

install_tools
[[ $(id -u) == 0 ]] && export NODELOCALDNS_E2E=required # a test that cannot run fails
export KUBE_TEST_REPO_LIST=$bin/repositories.yaml
mkdir -p "$bin"
echo "promoterE2eRegistry: $images" >"$KUBE_TEST_REPO_LIST"
time build
export CLUSTER_BIN=$bin NODELOCALDNS_BIN=$PWD/bin/nodelocaldns CONFORMANCE_RESULTS=$PWD/bin/conformance
[[ $# != 0 ]] || export CONFORMANCE_DOCUMENT=$PWD/docs/conformance.md
rm -rf "$CONFORMANCE_RESULTS"
go test -count=1 -timeout 150m "$@" ./e2e/cluster/conformance
