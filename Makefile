# The commands of the project; `make help` lists them. Everything is installed into this checkout.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# The interpreter for the checkout. Distributions build theirs with profile-guided optimisation, which self-built ones
# often lack: a seventh less processor time for all of Lanecast, measured. So theirs is taken where it is new enough.
PYTHON ?= $(shell /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo /usr/bin/python3 || echo python3)
BIN := .venv/bin
NPM := npm --prefix web
# What the generated Python modules, and what the page, are made of.
CONTRACTS := $(shell find protos -name '*.proto')
WEB_SOURCES := $(shell find web protos -type d \( -name node_modules -o -name dist -o -name gen \) -prune -o -type f -print)
PYTEST_ARGS ?=

.PHONY: help
help: ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: install
install: ## Put everything into .venv and web/node_modules, and build the page
	@$(MAKE) --no-print-directory -j2 .venv/.project metrics_svc/static/index.html

.PHONY: run
run: install ## Start Lanecast with four example AI services; prints the address of the dashboard
	exec $(BIN)/lanecast demo --up --data-dir .lanecast

.PHONY: test
test: install ## Run all tests: Python, TypeScript, with a real Chromium and a real Prometheus
	.ci/chromium
	.ci/prometheus
	$(BIN)/pytest $(PYTEST_ARGS)
	$(NPM) test

.PHONY: faults
faults: install ## Break real services in every way of docs/reliability.md, for half an hour; `FAULTS=--only=NAME` for one
	$(BIN)/lanecast bench faults $(FAULTS)
FAULTS ?=

.PHONY: lint lint-style lint-types lint-walls lint-contracts lint-web lint-audit
lint: lint-style lint-types lint-walls lint-contracts lint-web lint-audit ## Check style, types, walls, contracts and dependencies; `make -k lint` goes on after a finding
lint-style: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
lint-types: install
	$(BIN)/mypy
lint-walls: install
	$(BIN)/lint-imports
lint-contracts: install
	web/node_modules/.bin/buf lint
	.ci/contracts
lint-web: install
	$(NPM) run check
lint-audit: install
	$(BIN)/python .ci/audit.py

.PHONY: format
format: install ## Bring the sources into the project's style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(NPM) run format

.PHONY: wheel
wheel: install ## Build the wheel and the source archive into dist/
	rm -rf dist
	$(BIN)/python -m hatchling build

.PHONY: lock
lock: .tools/.uv ## Bring the lock files in requirements/ in line with pyproject.toml
	$(TOOLS)/uv pip compile pyproject.toml --extra examples --extra jetstream --extra rollouts --group dev $(LOCK_ARGS) -o requirements/dev.lock
	$(TOOLS)/uv pip compile pyproject.toml --extra examples --extra jetstream --extra rollouts $(LOCK_ARGS) -o requirements/examples.lock
	$(TOOLS)/uv pip compile pyproject.toml --extra jetstream --extra rollouts $(LOCK_ARGS) -o requirements/run.lock
LOCK_ARGS := --universal --generate-hashes --no-emit-index-url --no-header -q

.PHONY: clean
clean: ## Remove everything that was installed, built or measured, but no data directory
	rm -rf .venv .tools dist web/node_modules metrics_svc/static lanecast/v1 lanecast/ai lanecast/internal .*_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# uv installs in a tenth of pip's time, and needs no `python3-venv` of the interpreter it makes an environment for. It has
# certificates of its own, and is told to use the system's, as pip does; where it cannot reach an index in the way that
# pip is set up for, pip does the work.
TOOLS := .tools/bin
UV := $(TOOLS)/uv --system-certs pip
PIP := $(TOOLS)/pip --python $(BIN)/python

# Stamps: each step runs again only when what it depends on has changed.

.tools/.uv: requirements/uv.lock
	@python3 -c 'import ensurepip' \
		|| { echo 'this Python cannot make virtual environments: on Debian, `apt-get install python3-venv`' >&2; exit 1; }
	python3 -m venv .tools
	$(TOOLS)/pip install --quiet --require-hashes -r requirements/uv.lock
	touch $@

.venv/.python: .tools/.uv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'Lanecast needs Python 3.11 or newer: set PYTHON, as in `make install PYTHON=python3.12`' >&2; exit 1; }
	$(TOOLS)/uv venv --quiet --clear -p $(PYTHON) .venv
	touch $@

.venv/.packages: .venv/.python requirements/dev.lock
	$(UV) sync --quiet -p $(BIN)/python --require-hashes requirements/dev.lock \
		|| $(PIP) install --quiet --require-hashes -r requirements/dev.lock
	touch $@

.venv/.project: .venv/.packages pyproject.toml build_hook.py $(CONTRACTS)
	$(UV) install --quiet -p $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

web/node_modules/.installed: web/package.json web/package-lock.json
	@node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' \
		|| { echo 'the page is built with Node.js 20 or newer, which is missing here: install it, with npm' >&2; exit 1; }
	$(NPM) ci --no-fund --no-audit
	touch $@

metrics_svc/static/index.html: web/node_modules/.installed $(WEB_SOURCES)
	$(NPM) run build
	touch $@
