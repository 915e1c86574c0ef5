#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Tortures the cache for MINUTES, 10 if not set, as drawn from SEED, which is drawn if not set. ROUND names a single round.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=(iptables-nft iptables-legacy nft conntrack ip setpriv unshare)
packages=(iptables nftables conntrack iproute2 util-linux)
. hack/tools.sh

minutes=${MINUTES:-10}
seed=${SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
[[ $minutes =~ ^[0-9]+$ && $minutes -ge 1 && $minutes -le 600 ]] || { echo "MINUTES is $minutes: want a number from 1 to 600" >&2; exit 1; }
[[ $seed =~ ^[0-9]+$ ]] || { echo "SEED is $seed: want a number" >&2; exit 1; }
[[ ${ROUND:-0} =~ ^[0-9]+$ ]] || { echo "ROUND is $ROUND: want a number" >&2; exit 1; }
[[ $(id -u) == 0 ]] || { echo "network namespaces need root" >&2; exit 1; }

! command -v apt-get >/dev/null || install_tools
export NODELOCALDNS_E2E=required
echo "SEED=$seed, $minutes minutes"
go test -count=1 -v -timeout "$((minutes + 10))m" -run '^TestTorture$' ./e2e \
	-args -torture.time "${minutes}m" -torture.seed "$seed" -torture.round "${ROUND:-0}"
