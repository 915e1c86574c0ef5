#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs the tests of e2e/vm, in virtual machines with Debian's kernel, and the image for arm64: hack/e2e-vm.sh [ARGUMENT OF go test...]
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/bin/vm

[[ $(uname -m) == x86_64 ]] || { echo "the machine's kernel and programs are amd64's, and this host is $(uname -m)" >&2; exit 1; }

tools=(qemu-system-x86_64 qemu-aarch64-static depmod modprobe ipset iptables-nft iptables-legacy nft conntrack ip setpriv)
packages=(qemu-system-x86 qemu-user-static kmod ipset iptables nftables conntrack iproute2 util-linux)
. hack/tools.sh
. hack/kubernetes.sh

# get_kernel unpacks Debian's, without installing it, into VM_KERNEL.
get_kernel() {
	local package
	depends() { apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends: linux-image/ {print $2; exit}'; }
	package=$(depends)
	[[ -n $package && -d $bin/$package ]] || { apt-get update -qq && package=$(depends); }
	[[ -n $package ]] || { echo "apt knows no linux-image-cloud-amd64" >&2; exit 1; }
	VM_KERNEL=$bin/$package
	[[ ! -d $VM_KERNEL ]] || return 0
	rm -rf "$bin/new"
	mkdir -p "$bin/new/deb"
	(cd "$bin/new/deb" && apt-get download -qq -o APT::Sandbox::User=root "$package")
	dpkg -x "$bin"/new/deb/*.deb "$bin/new/kernel"
	mv "$bin/new/kernel" "$VM_KERNEL"
	rm -rf "$bin/new"
}

# Static programs, so that the machine needs nothing beside them.
build() {
	export CGO_ENABLED=0
	local flags=(-buildvcs=false -trimpath -ldflags '-s -w')
	mkdir -p "$bin"
	go build "${flags[@]}" -o "$bin/init" ./e2e/vm/init
	go build "${flags[@]}" -o "$bin/stock" ./e2e/stock
	go build "${flags[@]}" -o "$bin/nodelocaldns" ./cmd/nodelocaldns
	mkdir -p "$bin/hostnet"
	go test -c "${flags[@]}" -o "$bin/hostnet/" ./internal/hostnet/... ./internal/proxymode ./internal/sockets ./internal/nft
	go test -c "${flags[@]}" -o "$bin/e2e.test" ./e2e
}

# The files of the image for arm64, and the program that runs them here.
get_arm64() {
	make -s rootfs ARCH=arm64 ROOTFS=bin/vm/arm64
	cp "$(command -v qemu-aarch64-static)" "$bin/arm64/"
}

install_tools
get_kernel
get_arm64
export ARM64_ROOT=$bin/arm64 VM_KERNEL VM_INIT=$bin/init VM_HOSTNET_TESTS=$bin/hostnet VM_E2E_TEST=$bin/e2e.test
export VM_KUBERNETES=$e2e/kubernetes STOCK_BIN=$bin/stock NODELOCALDNS_BIN=$bin/nodelocaldns
(build)
build_kubernetes
go test -count=1 -timeout 20m -parallel 2 "$@" ./e2e/vm
