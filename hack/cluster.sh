# SPDX-License-Identifier: Apache-2.0
# For scripts that run the cluster of e2e/cluster: its tools, and build_cluster, which builds its programs and images into $bin.
. hack/kubernetes.sh
bin=$e2e

tools=(containerd ctr runc /usr/lib/cni/bridge iptables-nft iptables-legacy nft ip nsenter)
packages=(containerd runc containernetworking-plugins iptables nftables iproute2 util-linux)
. hack/tools.sh

# scratch_image NAME PROGRAM: an image with one file, the program by the image's name.
scratch_image() {
	go run -C hack/image . -name "e2e.local/$1:1" -file "$bin/$2=/$1" -entrypoint "/$1" -o "$bin/$1.tar" -max 60
}

build_cluster() {
	build_kubernetes
	ln -sf kubernetes "$bin/kubectl"
	go_build e2e/cluster/clusterdns clusterdns ""
	go_build e2e/cluster/node node ""
	go_build e2e/cluster/probe probe ""
	scratch_image pause probe
	scratch_image probe probe
	scratch_image clusterdns clusterdns
	make image IMAGE=ghcr.io/nodelocaldns/nodelocaldns:dev # as the manifests name it
	cp bin/nodelocaldns-image.tar "$bin/nodelocaldns.tar"
}
