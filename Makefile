# SPDX-License-Identifier: Apache-2.0

# A clone without tags, or no clone at all, is built too.
VERSION     ?= $(shell git describe --tags --dirty 2>/dev/null || echo dev)
COMMIT      ?= $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
LDFLAGS     := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
ACTIONLINT  := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
BIN         := bin/nodelocaldns

# The flags above say it, and go's own look at git fails in a clone of another user.
export GOFLAGS := $(GOFLAGS) -buildvcs=false

# The image's; ARCH is amd64 or arm64, whatever this machine is.
ARCH        ?= $(shell go env GOHOSTARCH)
OF_ARCH     := $(if $(filter-out $(shell go env GOHOSTARCH),$(ARCH)),-$(ARCH))
ROOTFS      ?= bin/rootfs
IMAGE       ?= ghcr.io/nodelocaldns/nodelocaldns:$(VERSION)
NAME_IMAGE  := -X github.com/nodelocaldns/nodelocaldns/manifests.DefaultImage=$(IMAGE)
BUILD_IMAGE := go run -C hack/image . -debs debian.lock -cache $(CURDIR)/bin/cache
CONTENT     := -arch $(ARCH) -file $(CURDIR)/$(BIN)$(OF_ARCH)=/nodelocaldns -link /nodelocaldns=/node-cache
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)

.PHONY: build generate test e2e conformance conformance-coredns e2e-vm torture soak lint size image image-binary image-lock rootfs release release-test fuzz run cost scale loads bench clean

# -mod=mod lets a line added to plugin.cfg bring its modules along.
build: generate
	CGO_ENABLED=0 go build -mod=mod -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/nodelocaldns
	@echo "$(BIN): $$(stat -c %s $(BIN)) bytes"

generate:
	go generate ./cmd/nodelocaldns ./e2e/stock

# Everything; without root what is possible.
test: lint size
	hack/test.sh

# The stories of e2e/cluster on a real Kubernetes, which the first run builds. As root, on Debian.
e2e:
	hack/e2e.sh

# Kubernetes' own tests of DNS, without the cache and with it, and the table of docs/conformance.md. As root, on Debian.
conformance:
	hack/conformance.sh

# The same promises on another kernel, Debian's in a virtual machine: IPVS, dummy links, features that are missing. And the image for
# arm64, in emulation.
e2e-vm:
	hack/e2e-vm.sh

# Pods, upstreams and the host at their worst, drawn from SEED for MINUTES, 10 if not set; ROUND is a single one. As root, on Debian.
torture:
	hack/torture.sh

# 2,000 queries a second for MINUTES, 60 if not set, with reloads, kills, updates and trouble of the cluster DNS, drawn from SEED. Results in
# bin/soak, with DOCS=1 also in docs/testing.md and docs/soak.svg. As root, on Debian.
soak:
	hack/soak.sh

# CoreDNS's own tests with our plugins, and the EDNS questions to stock CoreDNS and to us, into docs/conformance.md. As root.
conformance-coredns: build
	go run ./e2e/coredns
	NODELOCALDNS_E2E=required NODELOCALDNS_BIN=$(CURDIR)/$(BIN) go test -count=1 ./e2e -run '^TestCompliance$$' -update

lint:
	go run directives_generate.go -check
	go run directives_generate.go -check -stock -out e2e/stock/plugins.go
	go vet ./... && go vet directives_generate.go
	cd hack/image && go vet ./...
	@files=$$(gofmt -l .); test -z "$$files" || { echo "not gofmt's style: $$files"; exit 1; }
	go run $(STATICCHECK) ./...
	go run $(ACTIONLINT) .github/workflows/*.yml

size: build
	@test "$$(stat -c %s $(BIN))" -lt 30000000 || { echo "$(BIN) has 30 MB or more"; exit 1; }

# An archive for `ctr images import`, `docker load` and `skopeo copy oci-archive:`, and its bill of materials.
image: image-binary
	SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) $(BUILD_IMAGE) $(CONTENT) -name $(IMAGE) -entrypoint /nodelocaldns \
		-o $(CURDIR)/bin/nodelocaldns-image$(OF_ARCH).tar -sbom $(CURDIR)/$(BIN)$(OF_ARCH).cdx.json \
		-label org.opencontainers.image.title=nodelocaldns \
		-label 'org.opencontainers.image.description=CoreDNS as a DNS cache on each node of a Kubernetes cluster' \
		-label org.opencontainers.image.version=$(VERSION) \
		-label org.opencontainers.image.revision=$(COMMIT) \
		-label org.opencontainers.image.source=https://github.com/nodelocaldns/nodelocaldns \
		-label 'org.opencontainers.image.licenses=Apache-2.0 AND GPL-2.0-or-later AND LGPL-2.1-or-later AND MPL-2.0'

# The files of the image in ROOTFS, for the Dockerfile.
rootfs: image-binary
	rm -rf $(ROOTFS) && $(BUILD_IMAGE) $(CONTENT) -rootfs $(CURDIR)/$(ROOTFS)

image-binary: generate
	CGO_ENABLED=0 GOARCH=$(ARCH) go build -mod=mod -trimpath -ldflags '$(LDFLAGS) $(NAME_IMAGE)' -o $(BIN)$(OF_ARCH) ./cmd/nodelocaldns

# All that is published for a tagged commit, in bin/release. On Debian; hack/release.sh says what it is.
release:
	hack/release.sh

# Two builds of a release in clones of this commit, which have to be the same.
release-test:
	hack/release-test.sh

# Pins the versions of the images' Debian packages that apt has now: of the cache's, and of those of Kubernetes' tests.
image-lock:
	$(BUILD_IMAGE) -update-lock
	$(BUILD_IMAGE) -debs $(CURDIR)/e2e/cluster/kubernetes/conformance/debian.lock -update-lock

# Each fuzz target of the module for 30 s.
fuzz:
	hack/fuzz.sh 30s

# The cache of this machine in the foreground. Only DNS to 169.254.20.10 goes to it; nothing stays when it ends.
run: build
	@test "$$(id -u)" = 0 || { echo "make run needs root"; exit 1; }
	@echo "Try it: dig @169.254.20.10 example.com    (Ctrl-C ends it)"
	$(BIN) -fallback none

# What the cache costs on a node: time to start, CPU time and processes while idle, and memory and CPU time under load. As root.
cost: build
	NODELOCALDNS_BIN=$(CURDIR)/$(BIN) go run ./e2e/bench cost

# What 20 caches ask one cluster DNS, beside what a model says, and the model for 5,000 nodes; results in bin/scale. As root.
# Less than six minutes, 2 GB of memory.
scale: build
	NODELOCALDNS_BIN=$(CURDIR)/$(BIN) go run ./e2e/scale

# What the DNS tests of kubernetes/perf-tests ask, of a cluster DNS alone and behind a cache; results in bin/loads. As root, on Debian.
# 19 minutes.
loads:
	hack/loads.sh

# What a query costs here and in other DNS caches, which it installs; results in bin/bench. As root, on Debian.
bench:
	hack/bench.sh

clean:
	rm -rf bin
