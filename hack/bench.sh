#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Compares nodelocaldns with other DNS caches, in network namespaces: hack/bench.sh [FLAG OF e2e/bench...]
# It needs root and Debian. The results are in bin/bench.
set -euo pipefail
cd "$(dirname "$0")/.."

[[ $(id -u) == 0 ]] || { echo "make bench needs root, for network namespaces" >&2; exit 1; }

tools=(unbound dnsmasq dnsdist kresd dnsperf iperf3)
packages=(unbound dnsmasq-base dnsdist knot-resolver dnsperf iperf3)
. hack/tools.sh

# The installation does not start a service that is new here. The service must not start with the machine, either.
services=()
command -v unbound >/dev/null || services+=(unbound.service)
command -v dnsdist >/dev/null || services+=(dnsdist.service)
command -v kresd >/dev/null || services+=(kresd.target)
install_tools
if [[ ${#services[@]} -gt 0 ]] && command -v systemctl >/dev/null; then
	systemctl disable -q "${services[@]}" || echo "still enabled: ${services[*]}" >&2
fi

[[ -n ${NODELOCALDNS_BIN:-} ]] || { make -s build; export NODELOCALDNS_BIN=$PWD/bin/nodelocaldns; }
mkdir -p bin/bench
export CGO_ENABLED=0 STOCK_BIN=$PWD/bin/bench/stock
go build -buildvcs=false -trimpath -ldflags '-s -w' -o bin/bench/stock ./e2e/stock
go build -buildvcs=false -trimpath -o bin/bench/bench ./e2e/bench

# The programs end with bench, however bench ends. Their files are removed when this script ends.
TMPDIR=$(mktemp -d)
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
bin/bench/bench "$@"
