# `make run` and `make test` work from a fresh clone with Go, make and git.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export PATH := $(PATH):/usr/local/go/bin
# One set of flags for everything, so that builds, tests and checks share the
# build cache: with others each would compile the world again.
export GOFLAGS := -trimpath -buildvcs=false $(GOFLAGS)
# No C compiler is needed; only the race detector wants one.
export CGO_ENABLED := 0

GO := go
TOOL := $(GO) tool -modfile=$(CURDIR)/tools/go.mod
WITHPG := $(GO) run ./internal/pgserver/pgtest/withpg --
ARGS :=
N := 10000
PKG := ./...

.PHONY: help
help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

.PHONY: build
build: build-product build-devserver ## Build bin/justlogistics and bin/justlogistics-devserver

.PHONY: build-product
build-product:
	@scripts/build.sh . ./cmd/justlogistics bin/justlogistics "the product"

.PHONY: build-devserver
build-devserver:
	@scripts/build.sh devserver . bin/justlogistics-devserver "the embedded Temporal server"

.PHONY: run
run: build ## Build and run everything on this machine (ARGS="--verbose ...")
	@exec bin/justlogistics dev $(ARGS)

.PHONY: test
test: build ## Run every test, with a PostgreSQL of their own (PKG=./internal/stock for one package)
	@echo "test: the product"
	@if [[ "$(PKG)" == ./... ]]; then \
		$(WITHPG) $(GO) test -timeout 30m $$($(GO) list ./... | grep -v '/internal/e2e$$'); \
		echo "test: the whole stack, which has the machine to itself: buyers there wait for real answers"; \
		$(WITHPG) $(GO) test -timeout 30m ./internal/e2e; \
	else \
		$(WITHPG) $(GO) test -timeout 30m $(PKG); \
	fi
	@if [[ "$(PKG)" == ./... ]]; then \
		echo "test: the embedded Temporal server"; \
		$(WITHPG) $(GO) -C devserver test -timeout 20m ./...; \
	fi

.PHONY: race
race: export CGO_ENABLED := 1
race: build ## The product's tests under the race detector; needs a C compiler
	@$(WITHPG) $(GO) test -race -timeout 60m $(PKG)

.PHONY: lint
lint: ## Run every check
	@echo "lint: gofmt"
	@unformatted=$$(find . -name '*.go' -not -path './.*' -print0 | xargs -0 gofmt -l); \
		if [[ -n "$$unformatted" ]]; then echo "not formatted (gofmt -w them):"; echo "$$unformatted"; exit 1; fi
	@echo "lint: go vet"
	@$(GO) vet ./...
	@$(GO) -C devserver vet ./...
	@echo "lint: staticcheck"
	@$(TOOL) staticcheck ./...
	@cd devserver && $(TOOL) staticcheck ./...
	@echo "lint: workflowcheck"
	@$(TOOL) workflowcheck ./workflows/...
	@echo "lint: generated files"
	@scripts/check-generated.sh
	@echo "lint: all is well"

.PHONY: generate
generate: ## Write the generated files again
	@$(GO) generate ./...

.PHONY: bench
bench: build ## Run the benchmarks
	@$(WITHPG) $(GO) test -run '^$$' -bench . -timeout 60m $(PKG)

.PHONY: soak
soak: ## Simulate N=10000 schedules of the workflows in virtual time
	@JL_SCHEDULES=$(N) $(GO) test -count=1 -timeout 0 -run Simulation ./workflows/...

.PHONY: histories
histories: build ## Record the histories of new stories for the replay tests, from real runs
	@JL_RECORD_HISTORIES=1 $(WITHPG) $(GO) test -count=1 -timeout 30m -run RecordHistories ./internal/e2e

.PHONY: clean
clean: ## Remove what was built; the data of dev stay in .dev
	rm -rf bin
