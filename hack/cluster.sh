# SPDX-License-Identifier: Apache-2.0
# For scripts that run the cluster of e2e/cluster: its tools, and build_cluster, which builds its programs and images into $bin.
# The first build takes a quarter of an hour on two cores; after that Go's build cache has it.
bin=$PWD/bin/e2e

tools=(containerd ctr runc /usr/lib/cni/bridge iptables-nft iptables-legacy nft ip nsenter)
packages=(containerd runc containernetworking-plugins iptables nftables iproute2 util-linux)
. hack/tools.sh

# With other flags, or with cgo, Go would compile all of Kubernetes again. So all that imports it is built with these. Without
# debug information the cache is smaller and the build shorter. Vetting a test would mean to look through all that it imports.
kubernetes_flags=(-buildvcs=false -trimpath -gcflags=all=-dwarf=false)

# go_build DIRECTORY OUTPUT LDFLAGS [PACKAGE]
go_build() {
	(cd "$1" && CGO_ENABLED=0 go build "${kubernetes_flags[@]}" -ldflags "-s -w $3" -o "$bin/$2" "${4:-.}")
}

# scratch_image NAME PROGRAM: an image with one file, the program by the image's name.
scratch_image() {
	go run -C hack/image . -name "e2e.local/$1:1" -file "$bin/$2=/$1" -entrypoint "/$1" -o "$bin/$1.tar" -max 60
}

build_cluster() {
	local version
	version=$(cd e2e/cluster/kubernetes && go list -m -f '{{.Version}}' k8s.io/kubernetes)
	mkdir -p "$bin"
	local at=k8s.io/component-base/version
	echo "building Kubernetes $version"
	go_build e2e/cluster/kubernetes kubernetes "-X $at.gitVersion=$version -X $at.gitMajor=1 -X $at.gitMinor=$(cut -d. -f2 <<<"$version") \
		-X $at.gitTreeState=clean -X $at.buildDate=1970-01-01T00:00:00Z"
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
