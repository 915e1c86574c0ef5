#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Leaves in bin/release what is published for the tag vX.Y.Z or vX.Y.Z-PRERELEASE of this commit. The same commit gives the same bytes.
#
#   nodelocaldns-VERSION-image.tar         the image index of both architectures, an OCI archive
#   nodelocaldns-VERSION-ARCH.cdx.json     the bill of materials of each image
#   nodelocaldns-VERSION.tgz               the Helm chart
#   nodelocaldns-VERSION.yaml              the manifest in one file, with the variables of the Kubernetes guide
#   nodelocaldns-VERSION-manifests.tar.gz  the kustomize bases, overlays and components
#   SHA256SUMS
set -euo pipefail
cd "$(dirname "$0")/.."

HELM=helm.sh/helm/v3/cmd/helm@v3.18.6
image=ghcr.io/nodelocaldns/nodelocaldns

fail() {
	echo "make release: $1" >&2
	exit 1
}

git rev-parse -q --verify HEAD >/dev/null || fail "this is no clone of the repository: make a clone, and check the tag out"
dirty=$(git status --porcelain | head -3)
[[ -z $dirty ]] || fail "the work tree has changes, so it is not what the tag says; commit or remove them: $(xargs <<<"$dirty")"
tag=$(git describe --tags --exact-match --match 'v[0-9]*' 2>/dev/null) ||
	fail "commit $(git rev-parse --short HEAD) has no tag vX.Y.Z: check out the commit of a tag, or make the tag"
[[ $tag =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]] || fail "tag $tag is not vX.Y.Z or vX.Y.Z-PRERELEASE, which the chart's version has to be"

name=nodelocaldns-${tag#v}
export SOURCE_DATE_EPOCH
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
out=$PWD/bin/release
rm -rf "$out"
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# pack DIRECTORY NAME ARCHIVE makes a compressed archive of DIRECTORY/NAME, which does not depend on user, umask and clock.
pack() {
	tar -C "$1" --format=gnu --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX -c "$2" | gzip -9n >"$3"
}

indexed=()
for arch in amd64 arm64; do
	make image ARCH=$arch OF_ARCH=-$arch VERSION="$tag" COMMIT="$(git rev-parse HEAD)" IMAGE="$image:$tag"
	cp bin/nodelocaldns-$arch.cdx.json "$out/$name-$arch.cdx.json"
	indexed+=(-index "$PWD/bin/nodelocaldns-image-$arch.tar")
done
go run -C hack/image . -o "$out/$name-image.tar" -name "$image:$tag" "${indexed[@]}"

# helm writes the time of the build into its archive. So the archive is made again.
go run $HELM package charts/nodelocaldns --version "${tag#v}" --app-version "$tag" -d "$work/helm" >/dev/null
mkdir "$work/chart"
tar -xzf "$work/helm/$name.tgz" -C "$work/chart"
pack "$work/chart" nodelocaldns "$out/$name.tgz"

mkdir "$work/manifests"
git archive HEAD manifests | tar -x -C "$work/manifests" --exclude='*.go' --exclude=testdata
find "$work/manifests" -type f -exec sed -i "s|$image:dev|$image:$tag|" {} +
cp "$work/manifests/manifests/nodelocaldns.yaml" "$out/$name.yaml"
pack "$work/manifests" manifests "$out/$name-manifests.tar.gz"

(cd "$out" && sha256sum -- * >"$work/SHA256SUMS" && mv "$work/SHA256SUMS" .)
chmod 644 "$out"/*
ls -l "$out"
