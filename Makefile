# `make help` lists what there is to ask for.
SHELL := /bin/sh
MODULES := proto libs services/apiserver services/scheduler services/controller-manager \
	services/kubelet services/kube-proxy cmd/coracle tests
export COMPOSE_PROJECT_NAME ?= coracle

.PHONY: help build generate fmt lint test test-clients lab lab-down up bench images clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## all executables, into bin/
	@images/compile.sh bin

generate: ## code from the table of kinds and the .proto files
	cd libs && go run ./kinds/protogen ../proto/coracle/api/v1
	cd proto && go run ./gen

fmt: ## format all Go code, and tidy each module by itself
	@$$(tools/tool.sh gofumpt) -w $(MODULES) images tools
	@for module in $(MODULES); do (cd $$module && GOWORK=off go mod tidy) || exit; done

lint: ## the linters of .golangci.yml and buf
	@tests/lint.sh $(MODULES)

test: ## everything that can be tested here; the last line tells
	@tests/run.sh $(MODULES)

test-clients: ## other people's programs, built from their modules: Helm, kwok, kube-state-metrics, Prometheus, upstream's components
	@tests/clients.sh

up: build ## a cluster in one process, until ctrl-C
	@if docker info >/dev/null 2>&1; then exec bin/coracle up --docker; else exec bin/coracle up; fi

lab: ## a cluster of containers: NODES=n, default 2
	@lab/make.sh

lab-down: ## remove the lab and all it left
	@lab/down.sh

# The lab's images, from bin/.
images: build
	@images/build.sh

bench: build ## the benchmarks; see docs/benchmarks.md
	@tests/bench.sh

clean: ## remove bin/ and .cache/
	rm -rf bin .cache
