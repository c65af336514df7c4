# Each target is one command on a fresh Debian machine with Python 3.11+ and make:
#   make demo · make quick · make test · make test PYTHON=python3.13 · make demo ARGS="--web.listen-address :9000"

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
UV     := $(BIN)/python -m uv --quiet --no-config pip compile
UV_VERSION := 0.13.9

# The stamps carry the interpreter's version: `make PYTHON=python3.12 test` after `make test` starts afresh.
PYTHON_VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
CREATED := $(VENV)/.python-$(or $(PYTHON_VERSION),missing)
RUNTIME := $(VENV)/.runtime
DEV     := $(VENV)/.dev

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Two pips in one environment break it; everything slow below is parallel in itself.
.NOTPARALLEL:
.PHONY: help demo quick test announce lint bench dashboards pictures manifests sbom audit lock clean prometheus deploy-tools

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1: /p' $(MAKEFILE_LIST)

demo: $(RUNTIME) ## start the exporter on a simulated workspace, no account needed
	@$(BIN)/python -m exporter --demo $(ARGS)

# Python keeps its compiled modules, also where the environment says otherwise: the next run starts in half the time.
quick: $(DEV) ## unit tests that need no process and no second of their own: half a minute
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest tests/unit -m "not slow and not hypothesis" -q -n2 \
	    --dist=worksteal $(ARGS)

# Most of the time tests wait for processes: three at once keep two cores busy.
test: announce prometheus deploy-tools lint ## every check: linters, types, tests
	$(BIN)/python -m pytest -n4 --dist=worksteal $(ARGS)

announce:
	@echo "make test installs Python packages into $(VENV), and with apt-get Prometheus, Alertmanager, kubectl, systemd,"
	@echo "curl and wget, each where it is missing: some minutes the first time, nothing later. Then it runs linters,"
	@echo "types and all tests: about six minutes on two idle cores, twice that on busy ones. make quick takes half a minute."

lint: $(DEV) ## style and types
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m mypy

bench: $(DEV) ## run every executable in benchmarks/
	@set -e; for benchmark in benchmarks/*; do \
	    if [ -f "$$benchmark" ] && [ -x "$$benchmark" ]; then \
	        echo "== $$benchmark"; PATH="$(CURDIR)/$(BIN):$$PATH" "$$benchmark" $(ARGS); \
	    fi; \
	done

dashboards: $(DEV) ## write the Grafana dashboards' JSON again
	@$(BIN)/python -m deploy.grafana.build

pictures: $(DEV) prometheus ## draw the dashboards' pictures in docs/ again (minutes)
	@command -v chromium >/dev/null && command -v pngquant >/dev/null || .ci/apt-install chromium pngquant
	@$(BIN)/python -m deploy.grafana.pictures

manifests: $(DEV) ## write what Kubernetes needs of the rules and dashboards again
	@$(BIN)/python -m deploy.kubernetes.build

sbom: $(DEV) ## write the software bill of materials to dist/sbom.cdx.json
	@$(BIN)/python -m deploy.sbom dist/sbom.cdx.json

# --strict: what the service does not know counts as a failure, not as clean. The pins are complete: nothing is resolved.
audit: $(DEV) ## ask for known vulnerabilities of the Python packages that are shipped; needs the internet
	@echo "covers the packages of requirements.txt; does not cover the Python interpreter, the image's base (scan the image)"
	@echo "and the tools of requirements-build.txt and requirements-dev.txt (ARGS='-r requirements-dev.txt' adds them)"
	@$(BIN)/python -m pip_audit --strict --require-hashes --disable-pip --progress-spinner off \
	    -r requirements.txt $(ARGS)

# Keeps the pins that still fit; `make lock ARGS=--upgrade` takes the newest of everything.
# The three files never disagree: the two smaller ones are constrained by the largest.
LOCK := --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
# hatchling needs editables for `pip install --editable`, and says so only while it builds. The image's build makes
# its bill of materials with cyclonedx-bom.
BUILD_REQUIREMENTS := { $(BIN)/python -c 'import tomllib; \
	print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")'; \
	echo editables; echo cyclonedx-bom; }
lock: $(CREATED) ## pin every dependency again, with hashes, from pyproject.toml
	@$(PIP) install uv==$(UV_VERSION)
	@$(BUILD_REQUIREMENTS) | $(UV) $(LOCK) $(ARGS) pyproject.toml --group dev - -o requirements-dev.txt >/dev/null
	@$(BUILD_REQUIREMENTS) | $(UV) $(LOCK) $(ARGS) - -c requirements-dev.txt -o requirements-build.txt >/dev/null
	@$(UV) $(LOCK) $(ARGS) pyproject.toml -c requirements-dev.txt -o requirements.txt >/dev/null

clean: ## remove what the targets above made
	rm -rf $(VENV) dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(CREATED):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "$(PYTHON) is missing or older than 3.11: install python3, or name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || .ci/apt-install python$(PYTHON_VERSION)-venv
	@$(BIN)/python -c 'import pip, sys; sys.exit("%d.%d" % sys.version_info[:2] != "$(PYTHON_VERSION)")' 2>/dev/null || \
	    $(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(RUNTIME): $(CREATED) requirements.txt
	@echo "installing into $(VENV) from requirements.txt"
	@$(PIP) install --require-hashes -r requirements.txt
	@touch $@

# The project itself is installed for its console script and metadata, editable, built by the locked hatchling.
$(DEV): $(CREATED) requirements-dev.txt pyproject.toml exporter/__init__.py
	@echo "installing into $(VENV) from requirements-dev.txt"
	@$(PIP) install --require-hashes -r requirements-dev.txt
	@$(PIP) install --no-index --no-deps --no-build-isolation --editable .
	@touch $@

# The rules, the rule tests, the alerting path and what clients read are tested with the real programs. Without
# them those tests are skipped, loudly; with REQUIRE_PROMETHEUS=1 (CI) that is an error.
prometheus:
	@for program in prometheus promtool prometheus-alertmanager amtool curl wget; do \
	    command -v $$program >/dev/null || missing="$$missing $$program"; \
	done; \
	[ -z "$$missing" ] || .ci/apt-install prometheus prometheus-alertmanager curl wget || { \
	    echo "!!! NOT TESTED with real programs: missing$$missing !!!" >&2; \
	    [ "$$REQUIRE_PROMETHEUS" != 1 ]; }

# The kustomization is built by kubectl and the unit is read by systemd-analyze; the rest is as above, with
# REQUIRE_DEPLOY_TOOLS=1. Debian 12's kubectl is too old for components: the tests say so.
deploy-tools:
	@for program in kubectl systemd-analyze; do \
	    command -v $$program >/dev/null || missing="$$missing $$program"; \
	done; \
	[ -z "$$missing" ] || .ci/apt-install kubernetes-client systemd || { \
	    echo "!!! NOT TESTED with kubectl and systemd: missing$$missing !!!" >&2; \
	    [ "$$REQUIRE_DEPLOY_TOOLS" != 1 ]; }
