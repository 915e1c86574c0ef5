# SPDX-License-Identifier: Apache-2.0

# The image of `make image`, for docker and buildah:
#
#   docker build --build-arg VERSION="$(git describe --tags)" --build-arg COMMIT="$(git rev-parse --short HEAD)" .
#
# What is in it, and at which versions, say the Makefile and hack/image/debian.lock.

FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
ARG TARGETARCH
ARG VERSION
ARG COMMIT
WORKDIR /src
COPY . .
RUN make rootfs ${TARGETARCH:+ARCH=$TARGETARCH} ${VERSION:+VERSION=$VERSION} ${COMMIT:+COMMIT=$COMMIT}

FROM scratch
ARG VERSION=dev
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="nodelocaldns" \
      org.opencontainers.image.description="CoreDNS as a DNS cache on each node of a Kubernetes cluster" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT" \
      org.opencontainers.image.source="https://github.com/nodelocaldns/nodelocaldns" \
      org.opencontainers.image.licenses="Apache-2.0 AND GPL-2.0-or-later AND LGPL-2.1-or-later AND MPL-2.0"
COPY --from=build /src/bin/rootfs/ /
ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin
ENTRYPOINT ["/nodelocaldns"]
