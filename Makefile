# Everything real is in the quad command; make only builds it and calls it.
SHELL := /bin/bash
.DEFAULT_GOAL := help

bin  := .local/bin
quad := $(bin)/quad
# Command-line flags for quad, e.g. `make up QUAD_FLAGS=--json`.
QUAD_FLAGS ?=
# The end-to-end tests of `make soak`. The 500 kills alone, in about 35 minutes:
#   QUADRILLE_SOAK=1 go -C local/e2e test -race -timeout=2h -v -run RandomKills .
SOAK ?= RandomKills|KilledAmong|ERPThatIsDown|Rule1|Rule3|Rule5|Replicas

.PHONY: help try build images generate up down demo test soak bench lint clean quad

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

try: quad ## all services in one process, without Dapr: place orders, prove the books (under 2 min)
	@$(quad) demo --one-process $(QUAD_FLAGS)

build: quad ## build the services, quad and, when its version changed, Dapr
	@$(quad) build $(QUAD_FLAGS)

images: quad ## make container images of the services in .local/images, without Docker
	@$(quad) images $(QUAD_FLAGS)

generate: quad ## write what follows from the services' declarations: scopes, ports, tables
	@$(quad) generate $(QUAD_FLAGS)

up: quad ## build and start everything that is not running; TRACE=1 keeps traces
	@$(quad) up $(if $(TRACE),--trace) $(QUAD_FLAGS)

down: quad ## stop everything
	@$(quad) down $(QUAD_FLAGS)

demo: quad ## the same, then on Dapr (built the first time, about 10 min): both end alike
	@$(quad) demo $(QUAD_FLAGS)

test: quad ## run every test of every module against real servers
	@$(quad) test $(QUAD_FLAGS)

soak: quad ## 500 kills, five minutes of visits and kills, an ERP down for a minute, ten times the load, an hour of flat memory, a rolling release, all rules on Kafka (4 h)
	@$(quad) build $(QUAD_FLAGS)
	QUADRILLE_SOAK=10 go -C local/e2e test -race -count=1 -timeout=3h -v -run '$(SOAK)' .
	QUADRILLE_SOAK=1 QUADRILLE_TEST_BROKER=kafka QUADRILLE_TEST_RELAY=debezium \
		go -C local/e2e test -race -count=1 -timeout=2h -v .
	QUADRILLE_SOAK=1 QUADRILLE_KILLS=100 QUADRILLE_TEST_BROKER=kafka \
		go -C local/e2e test -race -count=1 -timeout=2h -v .
	QUADRILLE_SOAK=2 QUADRILLE_TEST_BROKER=kafka-3 go -C local/e2e test -race -count=1 -timeout=1h -v .
	QUADRILLE_SOAK=1 go -C local/e2e test -race -count=1 -timeout=1h -v -run VisitsWhile ./shop
	QUADRILLE_SOAK=1 QUADRILLE_TEST_BROKER=kafka go -C local/e2e test -count=1 -timeout=1h -v -run RollingRelease ./shop
	@$(quad) bench --scenario hour --no-bare-dapr $(QUAD_FLAGS)

bench: quad ## measure orders settled a second in every scenario (about 5 min)
	@$(quad) bench --scenario all --where $(QUAD_FLAGS)

lint: quad $(bin)/golangci-lint $(bin)/govulncheck ## check format, vet, linters, the gRPC files and known vulnerabilities
	@local/lint.sh $(bin)

clean: quad ## stop everything and delete .local: data, builds, logs
	@$(quad) down --wipe
	@$(quad) down --wipe --dir .local/test
	rm -rf .local

quad:
	@mkdir -p $(bin)
	@CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w" -o $(quad) ./local/quad

# Versions are pinned by the module local/tools.
$(bin)/golangci-lint $(bin)/govulncheck &: local/tools/go.mod
	@echo "building golangci-lint and govulncheck (about 3 min the first time)"
	@mkdir -p $(bin)
	@GOWORK=off CGO_ENABLED=0 go build -C local/tools -trimpath -buildvcs=false -ldflags "-s -w" -o $(CURDIR)/$(bin)/ tool
	@touch $(bin)/golangci-lint $(bin)/govulncheck
