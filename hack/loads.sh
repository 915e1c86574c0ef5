#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Asks what the DNS tests of kubernetes/perf-tests ask, in network namespaces: hack/loads.sh [FLAG OF e2e/perftests...]
# It needs root and Debian. The results are in bin/loads.
set -euo pipefail
cd "$(dirname "$0")/.."

[[ $(id -u) == 0 ]] || { echo "make loads needs root, for network namespaces" >&2; exit 1; }

tools=(dnsperf iptables-nft iptables-legacy nft ip setpriv)
packages=(dnsperf iptables nftables iproute2 util-linux)
. hack/tools.sh
. hack/kubernetes.sh
install_tools

[[ -n ${NODELOCALDNS_BIN:-} ]] || { make -s build; export NODELOCALDNS_BIN=$PWD/bin/nodelocaldns; }
bin=$PWD/bin/loads
mkdir -p "$bin"
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -buildvcs=false"
export STOCK_BIN=$bin/stock REFERENCE_BIN=$bin/reference CLUSTERDNS_BIN=$e2e/clusterdns
go build -trimpath -ldflags '-s -w' -o "$STOCK_BIN" ./e2e/stock
go build -trimpath -ldflags '-s -w' -o "$REFERENCE_BIN" ./e2e/cluster/reference
go_build e2e/cluster/clusterdns clusterdns ""
go build -trimpath -o "$bin/perftests" ./e2e/perftests

# The programs end with perftests, however it ends. Their files are removed when this script ends.
TMPDIR=$(mktemp -d)
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
"$bin/perftests" "$@"
