#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Soaks the cache for MINUTES, 60 if not set. SEED decides which events happen when; without one the script draws a seed. The results are
# in bin/soak, and with DOCS=1 also in docs/testing.md and docs/soak.svg. RESULTS=FILE judges and shows the results.json of an earlier run.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=(iptables-nft iptables-legacy nft conntrack ip setpriv)
packages=(iptables nftables conntrack iproute2 util-linux)
. hack/tools.sh

minutes=${MINUTES:-60}
seed=${SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
[[ $minutes =~ ^[0-9]+$ && $minutes -ge 1 && $minutes -le 600 ]] || { echo "MINUTES is $minutes: want a number from 1 to 600" >&2; exit 1; }
[[ $seed =~ ^[0-9]+$ ]] || { echo "SEED is $seed: want a number" >&2; exit 1; }
[[ $(id -u) == 0 ]] || { echo "network namespaces need root" >&2; exit 1; }

arguments=(-soak.time "${minutes}m" -soak.seed "$seed" -soak.out "$PWD/bin/soak")
[[ -z ${RESULTS:-} ]] || arguments+=(-soak.results "$(realpath "$RESULTS")")
[[ -z ${DOCS:-} ]] || arguments+=(-update)

! command -v apt-get >/dev/null || install_tools
export NODELOCALDNS_E2E=required
[[ -n ${RESULTS:-} ]] || echo "SEED=$seed, $minutes minutes"
go test -count=1 -v -timeout "$((minutes + 10))m" -run '^TestSoak$' ./e2e -args "${arguments[@]}"
