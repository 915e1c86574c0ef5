# SPDX-License-Identifier: Apache-2.0

# A clone without tags, or no clone at all, is built too.
VERSION     ?= $(shell git describe --tags --dirty 2>/dev/null || echo dev)
COMMIT      ?= $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
LDFLAGS     := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
BIN         := bin/nodelocaldns

# The flags above say it, and go's own look at git fails in a clone of another user.
export GOFLAGS := $(GOFLAGS) -buildvcs=false

.PHONY: build generate test lint size fuzz run cost clean

# -mod=mod lets a line added to plugin.cfg bring its modules along.
build: generate
	CGO_ENABLED=0 go build -mod=mod -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/nodelocaldns
	@echo "$(BIN): $$(stat -c %s $(BIN)) bytes"

generate:
	go generate ./cmd/nodelocaldns

# Everything; without root what is possible.
test: lint size
	hack/test.sh

lint:
	go run directives_generate.go -check
	go vet ./... && go vet directives_generate.go
	@files=$$(gofmt -l .); test -z "$$files" || { echo "not gofmt's style: $$files"; exit 1; }
	go run $(STATICCHECK) ./...

size: build
	@test "$$(stat -c %s $(BIN))" -lt 30000000 || { echo "$(BIN) has 30 MB or more"; exit 1; }

# Each fuzz target of the module for 30 s.
fuzz:
	hack/fuzz.sh 30s

# The cache of this machine in the foreground. Only DNS to 169.254.20.10 goes to it; nothing stays when it ends.
run: build
	@test "$$(id -u)" = 0 || { echo "make run needs root"; exit 1; }
	@echo "Try it: dig @169.254.20.10 example.com    (Ctrl-C ends it)"
	$(BIN) -fallback none

cost: build
	NODELOCALDNS_BIN=$(CURDIR)/$(BIN) go run ./e2e/cost

clean:
	rm -rf bin
