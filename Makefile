# vtepbgp: run `make` or `make help` for the list of targets.
SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO      ?= go
BIN     := bin/vtepbgp
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)
FUZZTIME ?= 10s

# What the labs and the interop tests drive. `make deps` installs what is missing.
PACKAGES := iproute2 iputils-ping tcpdump procps frr gobgpd exabgp gcc libc6-dev
COMMANDS := ip ping tcpdump ps /usr/lib/frr/bgpd gobgpd exabgp gcc

export CGO_ENABLED ?= 0

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: $(BIN) ## Build the static binary into bin/

.PHONY: $(BIN)
$(BIN):
	@mkdir -p bin
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/vtepbgp

.PHONY: deps
deps: ## Install the Debian packages that demo and tests need (as root; says which)
	@packaging/deps.sh "$(COMMANDS)" "$(PACKAGES)"

.PHONY: demo
demo: deps $(BIN) ## Three VTEPs, a route reflector and hosts that ping over VXLAN (root)
	$(GO) run ./lab/demo -binary $(BIN)

.PHONY: demo-flood
demo-flood: deps $(BIN) ## Who copies broadcast frames for whom: a multicast segment, a service node, RFC 9574 (root)
	$(GO) run ./lab/demo -binary $(BIN) -flood

.PHONY: test
test: deps fmt-check vet test-unit test-lab ## Everything: static checks, unit tests with the race detector, labs, interop

.PHONY: fmt-check
fmt-check: ## Fail when a file is not gofmt'ed
	@out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "not gofmt'ed (run make fmt):"; echo "$$out"; exit 1; }

.PHONY: fmt
fmt: ## Format the source
	gofmt -w $$(git ls-files '*.go')

.PHONY: vet
vet: ## go vet, with and without the lab tag
	$(GO) vet ./...
	$(GO) vet -tags lab ./...

.PHONY: test-unit
test-unit: ## Unit, scenario, property and contract tests, with the race detector
	CGO_ENABLED=1 packaging/gotest.sh -race -timeout 20m ./...

.PHONY: test-lab
test-lab: $(BIN) ## Labs and interop with FRR, GoBGP and ExaBGP in network namespaces (root)
	GOTEST_FORMAT=testname VTEPBGP_BINARY=$(CURDIR)/$(BIN) packaging/gotest.sh -tags lab -p 1 -count=1 -timeout 40m ./lab/...

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (default 10s)
	@for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "== $$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$pkg; \
	  done; done

.PHONY: bench
bench: deps $(BIN) ## Side by side with FRR in one run; writes docs/performance.md (root, about 15 minutes)
	$(GO) run ./lab/bench -binary $(BIN) -write docs/performance.md

.PHONY: bench-flood
bench-flood: deps ## Flooding engines beside head-end replication in one run; writes docs/performance.md (root, three rounds of up to 5 minutes)
	$(GO) run ./lab/floodbench -write docs/performance.md

.PHONY: bench-go
bench-go: ## Go benchmarks of the packages
	$(GO) test -run '^$$' -bench . -benchmem ./evpn/... ./speaker/... ./kernel/... ./config/...

.PHONY: golden
golden: ## Rewrite golden files and docs/{config,cli,metrics}.md; review the diff
	$(GO) test ./config ./evpn/... ./cmd/vtepbgp ./cmd/vtepbgp/internal/{api,daemon,explain} -update

.PHONY: generate
generate: ## Compile the eBPF program again (needs Debian's clang, llvm and libbpf-dev; nothing else does)
	@for c in clang llvm-strip; do command -v $$c >/dev/null || { echo "no $$c: apt-get install -y --no-install-recommends clang llvm libbpf-dev linux-libc-dev"; exit 1; }; done
	$(GO) generate ./flood/ebpf

.PHONY: lint
lint: ## golangci-lint (built from source at its pinned version on first use)
	$(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0 run ./...

.PHONY: image
image: $(BIN) ## Build the container image of a lab node (needs a Docker engine)
	docker build -f packaging/docker/Dockerfile -t vtepbgp:latest .

.PHONY: clean
clean: ## Remove what make made
	rm -rf bin dist
