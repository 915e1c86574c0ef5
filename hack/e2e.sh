#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds a Kubernetes, the image and what else the tests of e2e/cluster need, and runs them: hack/e2e.sh [ARGUMENT OF go test...]
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/cluster.sh

build() {
	build_cluster
	# The helm of the release.
	CGO_ENABLED=0 GOBIN=$bin go install -trimpath -ldflags "-s -w" "$(sed -n 's/^HELM=//p' hack/release.sh)"
	go_build e2e/cluster/reference reference ""
	go run -C hack/image . -name e2e.local/reference:1 -debs debian.lock -cache "$PWD/bin/cache" -file "$bin/reference=/node-cache" \
		-entrypoint /node-cache -o "$bin/reference.tar" -max 60
}

install_tools
[[ $(id -u) == 0 ]] && export NODELOCALDNS_E2E=required # a test that cannot run fails
time build
(cd e2e/cluster/kubernetes && CGO_ENABLED=0 go test "${kubernetes_flags[@]}" -vet=off -count=1 ./manifests)
CLUSTER_BIN=$bin NODELOCALDNS_BIN=$PWD/bin/nodelocaldns go test -count=1 -timeout 60m "$@" ./e2e/cluster
