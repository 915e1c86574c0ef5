# SPDX-License-Identifier: Apache-2.0
# For scripts that run Kubernetes: build_kubernetes builds all its components into one file, kubernetes in $e2e. The first build takes
# a quarter of an hour on two cores; after that Go's build cache has it.
e2e=$PWD/bin/e2e

# With other flags, or with cgo, Go would compile all of Kubernetes again. So all that imports it is built with these. Without
# debug information the cache is smaller and the build shorter. Vetting a test would mean to look through all that it imports.
kubernetes_flags=(-buildvcs=false -trimpath -gcflags=all=-dwarf=false)

# go_build DIRECTORY OUTPUT LDFLAGS [PACKAGE]
go_build() {
	(cd "$1" && CGO_ENABLED=0 go build "${kubernetes_flags[@]}" -ldflags "-s -w $3" -o "$e2e/$2" "${4:-.}")
}

build_kubernetes() {
	local version at=k8s.io/component-base/version
	version=$(cd e2e/cluster/kubernetes && go list -m -f '{{.Version}}' k8s.io/kubernetes)
	mkdir -p "$e2e"
	echo "building Kubernetes $version"
	go_build e2e/cluster/kubernetes kubernetes "-X $at.gitVersion=$version -X $at.gitMajor=1 -X $at.gitMinor=$(cut -d. -f2 <<<"$version") \
		-X $at.gitTreeState=clean -X $at.buildDate=1970-01-01T00:00:00Z"
}
