# The only front door. `make` alone explains every target.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup up down clean demo check test observe faults bench lock fmt contracts dashboards

# Whoever asked Python not to write compiled files would wait for each of hundreds of processes to compile them anew.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
# Asked for when a recipe runs: the account that it looks at comes with Postgres.
TEST_ROOT = $$(deploy/native/test-root)
# The tests' servers may keep their data in memory; what is measured is a disk.
BENCH_STACK = --run-dir "$(TEST_ROOT)/measured" --port-base 20000

help: ## Explain every target
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  \033[1m%-10s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install what is missing: Debian packages, .venv, Python packages
	@deploy/native/bootstrap

demo: setup ## Start everything and tell the whole story in the terminal
	@$(BIN)/trunkline up
	@$(BIN)/trunkline demo

up: setup ## Start the stack and wait until it is ready
	@$(BIN)/trunkline up

observe: ## Start the stack with Prometheus and its exporters
	@deploy/native/bootstrap --observe
	@$(BIN)/trunkline up --observe

down: ## Stop the stack; its data stays
	@$(BIN)/trunkline down

clean: ## Stop the stack and forget its data
	@if [ -x $(BIN)/trunkline ]; then $(BIN)/python -m tests.lanes "$(TEST_ROOT)" clean && \
	 $(BIN)/trunkline clean $(BENCH_STACK) && $(BIN)/trunkline clean; fi

check: setup ## Lint, types, import rules, event contracts, unit tests: no servers, a minute
	@$(BIN)/python -m tests.checks $(if $(THOROUGH),--thorough)

test: ## Everything that CI runs: check, then all tests on real servers, in lanes side by side
	@deploy/native/bootstrap --for-tests
	@$(MAKE) --no-print-directory check THOROUGH=yes
	@$(BIN)/python -m tests.lanes "$(TEST_ROOT)"

faults: ## Mixed faults against the real stack, by seed: SEED=7 SECONDS=180 ONLY=crash,reset
	@deploy/native/bootstrap --for-tests
	@$(BIN)/python -m tests.faults.harness --run-dir "$(TEST_ROOT)/faults" $(if $(SEED),--seed $(SEED)) --seconds $(or $(SECONDS),180) --only "$(ONLY)"

bench: ## Measure, beside limits of the same run; NAME=midring for one
	@deploy/native/bootstrap --for-tests
	@trap '$(BIN)/trunkline down $(BENCH_STACK)' EXIT; \
	 eval "$$($(BIN)/trunkline up --only servers $(BENCH_STACK) --json | $(BIN)/python -m bench.addresses)"; \
	 $(BIN)/python -m bench $(or $(NAME),all)

dashboards: ## Generate dashboards and alert rules from their Python
	@$(BIN)/trunkline dashboards generate

contracts: ## Generate schemas and docs from the event classes
	@$(BIN)/trunkline contracts generate

lock: ## Write requirements.lock anew from every package's dependencies
	@$(BIN)/uv lock -q
	@$(BIN)/uv export -q --locked --all-groups --no-emit-workspace --format requirements.txt --no-header --no-annotate -o requirements.lock >/dev/null

fmt: ## Format the code
	@$(BIN)/ruff check -q --fix || true
	@$(BIN)/ruff format -q
