#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs all tests. As root also those that need network namespaces, and installs the tools for them.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=(iptables-nft iptables-legacy nft conntrack ip ps setpriv promtool prometheus clang llvm-strip /usr/include/bpf/bpf_helpers.h)
packages=(iptables nftables conntrack iproute2 procps util-linux prometheus clang llvm libbpf-dev)
. hack/tools.sh

if [[ $(id -u) == 0 ]]; then
	export NODELOCALDNS_E2E=required # a test that cannot run fails
	! command -v apt-get >/dev/null || install_tools
	[[ -z $(missing) ]] || echo "not installed: $(missing | xargs)"
fi

race=()
if command -v "$(go env CC)" >/dev/null; then
	race=(-race)
else
	echo "no C compiler: running without the race detector"
fi
unit=$(go list ./... | grep -v /e2e)
# shellcheck disable=SC2086 # one word a package
go test "${race[@]}" -count=1 -timeout 20m $unit
(cd hack/image && go test -count=1 ./...)
(cd e2e/cluster/clusterdns && go test -count=1 ./...) # searchpath against CoreDNS's kubernetes plugin

if [[ $(id -u) != 0 ]]; then
	echo "Left out, for want of root: e2e, and the tests of internal/hostnet and plugin/nodelocal that need a network namespace."
	exit
fi
# One package at a time and nothing beside it: these measure time.
# shellcheck disable=SC2046 # one word a package; those on a real Kubernetes are make e2e, those on another kernel make e2e-vm
NODELOCALDNS_BIN=$PWD/bin/nodelocaldns go test -count=1 -p 1 -timeout 60m $(go list ./e2e/... | grep -v -e /e2e/cluster -e /e2e/vm)
