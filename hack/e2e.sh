#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds a Kubernetes, the image and what else the tests of e2e/cluster need, and runs them: hack/e2e.sh [ARGUMENT OF go test...]
# The first build takes a quarter of an hour on two cores; after that Go's build cache has it.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/bin/e2e

tools=(containerd ctr runc /usr/lib/cni/bridge iptables-nft iptables-legacy nft ip nsenter)
packages=(containerd runc containernetworking-plugins iptables nftables iproute2 util-linux)
. hack/tools.sh

# go_build DIRECTORY OUTPUT LDFLAGS. Without debug information the cache is smaller and the build shorter.
go_build() {
	(cd "$1" && CGO_ENABLED=0 go build -buildvcs=false -trimpath -gcflags=all=-dwarf=false -ldflags "-s -w $3" -o "$bin/$2" .)
}

# scratch_image NAME PROGRAM: an image with one file, the program by the image's name.
scratch_image() {
	go run -C hack/image . -name "e2e.local/$1:1" -file "$bin/$2=/$1" -entrypoint "/$1" -o "$bin/$1.tar" -max 60
}

build() {
	local version
	version=$(cd e2e/cluster/kubernetes && go list -m -f '{{.Version}}' k8s.io/kubernetes)
	mkdir -p "$bin"
	local at=k8s.io/component-base/version
	echo "building Kubernetes $version"
	go_build e2e/cluster/kubernetes kubernetes "-X $at.gitVersion=$version -X $at.gitMajor=1 -X $at.gitMinor=$(cut -d. -f2 <<<"$version") \
		-X $at.gitTreeState=clean -X $at.buildDate=1970-01-01T00:00:00Z"
	ln -sf kubernetes "$bin/kubectl"
	# The helm of the release.
	CGO_ENABLED=0 GOBIN=$bin go install -trimpath -ldflags "-s -w" "$(sed -n 's/^HELM=//p' hack/release.sh)"
	go_build e2e/cluster/clusterdns clusterdns ""
	go_build e2e/cluster/node node ""
	go_build e2e/cluster/probe probe ""
	scratch_image pause probe
	scratch_image probe probe
	scratch_image clusterdns clusterdns
	go_build e2e/cluster/reference reference ""
	go run -C hack/image . -name e2e.local/reference:1 -debs debian.lock -cache "$PWD/bin/cache" -file "$bin/reference=/node-cache" \
		-entrypoint /node-cache -o "$bin/reference.tar" -max 60
	make image IMAGE=ghcr.io/nodelocaldns/nodelocaldns:dev # as the manifests name it
	cp bin/nodelocaldns-image.tar "$bin/nodelocaldns.tar"
}

install_tools
[[ $(id -u) == 0 ]] && export NODELOCALDNS_E2E=required # a test that cannot run fails
time build
(cd e2e/cluster/kubernetes && go test -trimpath -gcflags=all=-dwarf=false -count=1 ./...)
CLUSTER_BIN=$bin NODELOCALDNS_BIN=$PWD/bin/nodelocaldns go test -count=1 -timeout 60m "$@" ./e2e/cluster
