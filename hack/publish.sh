#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Pushes what make release has left in bin/release, and signs it: hack/publish.sh TAG REGISTRY. .github/workflows/release.yml runs it.
# It needs Go, helm, cosign and jq, a login to the registry, and an identity for cosign. PLAIN_HTTP=1 is for a registry of a test.
set -euo pipefail
cd "$(dirname "$0")/../bin/release"

CRANE=github.com/google/go-containerregistry/cmd/crane@v0.22.1

tag=$1 registry=$2
name=nodelocaldns-${tag#v}
image=$registry/nodelocaldns charts=$registry/charts
sha256sum --quiet -c SHA256SUMS

# blob DIGEST prints a blob of the image's archive.
blob() { tar -xOf "$name-image.tar" "blobs/${1/://}"; }

# What is signed is what was built: the digests are those of the archive. crane pushes it as it is; skopeo would write the index anew.
index=$(tar -xOf "$name-image.tar" index.json | jq -re '.manifests[0].digest')
layout=$(mktemp -d)
trap 'rm -rf "$layout"' EXIT
tar -xf "$name-image.tar" -C "$layout"
go run $CRANE push ${PLAIN_HTTP:+--insecure} "$layout" "$image:$tag"
cosign sign --yes --recursive "$image@$index"
for arch in amd64 arm64; do
	digest=$(blob "$index" | jq -re --arg arch $arch '.manifests[] | select(.platform.architecture == $arch).digest')
	cosign attest --yes --type cyclonedx --predicate "$name-$arch.cdx.json" "$image@$digest"
done

chart=$(helm push ${PLAIN_HTTP:+--plain-http} "$name.tgz" "oci://$charts" 2>&1 | tee /dev/stderr | sed -n 's/^Digest: //p')
cosign sign --yes "$charts/nodelocaldns@${chart:?helm has not said the digest of the chart}"

cosign sign-blob --yes --bundle SHA256SUMS.sigstore.json SHA256SUMS >/dev/null
