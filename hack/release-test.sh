#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds a release of the last commit twice, in two clones whose tag exists nowhere else, and compares. The second build has a path of
# another length, another umask, and nothing of what Go has compiled before.
set -euo pipefail
cd "$(dirname "$0")/.."

tag=v0.0.1-test
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

# build DIRECTORY makes the release there.
build() {
	git clone -q . "$1"
	# The tag is annotated, as that of a release.
	git -C "$1" -c user.name=test -c user.email=test@example.invalid tag -a -m test $tag
	mkdir -p bin/cache "$1/bin"
	cp -r bin/cache "$1/bin/cache" # packages of Debian, which the build finds by their digests
	make -C "$1" release
}

build "$work/first"
(
	umask 077
	export GOCACHE=$work/go-build
	build "$work/second-of-the-two"
)
cp -rn "$work/first/bin/cache/." bin/cache
first=$work/first/bin/release second=$work/second-of-the-two/bin/release
diff -r "$first" "$second" || { echo "two builds of the same commit differ" >&2; exit 1; }

# What is there is what is promised.
(cd "$first" && sha256sum --quiet -c SHA256SUMS)
diff <(ls "$first") - <<EOF
SHA256SUMS
nodelocaldns-0.0.1-test-amd64.cdx.json
nodelocaldns-0.0.1-test-arm64.cdx.json
nodelocaldns-0.0.1-test-image.tar
nodelocaldns-0.0.1-test-manifests.tar.gz
nodelocaldns-0.0.1-test.tgz
nodelocaldns-0.0.1-test.yaml
EOF

# What is published names the image that is published.
image=ghcr.io/nodelocaldns/nodelocaldns:$tag
rendered=$("$work/first/bin/nodelocaldns-$(go env GOHOSTARCH)" render manifests -mode iptables -dnsserver 10.96.0.10 -clusterdomain cluster.local)
for text in "$rendered" "$(cat "$first"/*.yaml)" "$(tar -xzOf "$first"/*-manifests.tar.gz manifests/base/daemonset.yaml)"; do
	[[ $text == *"image: $image"* && $text != *nodelocaldns:dev* ]] || { echo "another image than $image is named" >&2; exit 1; }
done
[[ $(tar -xzOf "$first"/*-test.tgz nodelocaldns/Chart.yaml) == *"appVersion: $tag"* ]] || { echo "the chart has another appVersion" >&2; exit 1; }
echo "two builds are the same: $(sha256sum <"$first/SHA256SUMS")"
