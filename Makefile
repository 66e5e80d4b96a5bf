# Everything a checkout needs stays in it: the environment in .venv, downloads of tests in .cache.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
PORT ?= 8866
MINUTES ?=
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo lab report kafka s3 test faults long check setup chromium firefox fuse lock benchmarks clean

help: ## Say what can be made.
	@grep -hE '^[a-z0-9]+:.*##' Makefile | sed -E 's/:.*##/\t/' | expand -t 14

demo: .venv/.complete ## Watch a release go wrong while pings stream in (PORT=8866, MINUTES= for ever).
	@exec $(BIN)/missioncontrol demo --port $(PORT) $(if $(MINUTES),--minutes $(MINUTES))

lab: .venv/.complete ## Explore a simulated fleet in JupyterLab.
	@cd notebooks && { test -f fleet/releases.json || { rm -rf fleet && ../$(BIN)/missioncontrol simulate --history fleet; }; }
	@exec $(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) notebooks/explore.ipynb

# The bad week: 56.0 goes wrong on Windows, on the day before now. Each has a report of that morning and one of now.
report: .venv/.complete ## Make four reports of two simulated fleets, one with a bad week and one without, in reports/.
	@set -e; now=2017-10-02T13:00:00Z; mkdir -p .cache/fleets; \
	bad="--bad 56.0 --bad-os Windows_NT --bad-since 2017-10-01T22:00:00Z"; \
	for week in bad good; do fleet=.cache/fleets/$$week; \
	  test -f $$fleet/releases.json || { rm -rf $$fleet; if [ $$week = good ]; then bad=; fi; \
	    $(BIN)/missioncontrol simulate --history $$fleet --now $$now $$bad >/dev/null; }; \
	  for moment in 2017-10-01T13:00Z $$now; do code=0; \
	    $(BIN)/missioncontrol report --dataset $$fleet --out reports/$$week-week --as-of $$moment || code=$$?; \
	    [ $$code = 0 ] || [ $$code = 3 ]; done; done; \
	echo; echo "The newest reports: $(CURDIR)/reports/bad-week/latest.html and $(CURDIR)/reports/good-week/latest.html"

kafka: .venv/.complete ## Run a Kafka of one node with a topic until Ctrl-C (needs Java and Maven).
	@exec $(BIN)/python -m tests.services.kafka

s3: .venv/.complete ## Run an S3 server with a bucket until Ctrl-C (needs Go).
	@exec $(BIN)/python -m tests.services.s3

# Four processes on two cores: each waits for servers now and then.
test: ## Run the checks and all tests but the longest (ARGS= for pytest: some of them, one after another).
	@$(MAKE) --no-print-directory -j2 setup check
	@$(MAKE) --no-print-directory chromium firefox fuse
	@$(BIN)/python -m pytest $(if $(ARGS),$(ARGS),-n 4 --dist loadfile --no-loadscope-reorder -m "not long")

faults: setup ## Kill the job, its broker and its upkeep again and again: is a ping lost or doubled? (KINDS= some of them)
	@$(BIN)/python -m tests.faults $(KINDS)

long: setup fuse ## Run the tests that take longest: they kill jobs and services, or wait until one is back.
	@$(BIN)/python -m pytest -m long $(ARGS)

check: .venv/.complete ## Format, lint, types, notebook hygiene: every warning is an error.
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/nbstripout --verify notebooks/*.ipynb

setup: .venv/.complete .venv/.warm ## Make the environment in .venv, as requirements.lock has it.

.venv/.complete: requirements.lock pyproject.toml hatch_build.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; name one with: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks the venv module; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "Setting up .venv: the first time takes a minute or two"
	@test -x $(BIN)/uv || { echo "1 of 3: uv, which installs the rest"; $(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet --disable-pip-version-check uv; }
	@echo "2 of 3: $$(grep -cE '^[a-z0-9].*==' requirements.lock) packages, downloaded and compiled"
	@$(BIN)/uv pip sync --python $(BIN)/python --require-hashes --compile-bytecode requirements.lock
	@echo "3 of 3: this package, and the scripts of its pages"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --compile-bytecode --editable .
	@touch $@

# Java's classes, ready to use: they halve Spark's start. All works without, so a failure is told, not an end.
.venv/.warm: requirements.lock | .venv/.complete
	@echo "Preparing Spark: half a minute, once"
	@log=.venv/warmup.log; $(BIN)/python -m streaming.spark.class_archive >$$log 2>&1 || { tail -n 3 $$log >&2; \
	  echo "Preparing Spark failed, so it starts slower; try again with: rm .venv/.warm && make setup" >&2; }
	@touch $@

chromium: .venv/.complete ## Find a Chromium for the browser tests, or install one.
	@$(BIN)/python -m tests.browser.chromium

firefox: .venv/.complete ## Find a Firefox for the tests of real clients, or install one.
	@$(BIN)/python -m tests.clients.firefox

fuse: .venv/.complete ## Find FUSE for the tests of power cuts, or install it.
	@$(BIN)/python -m tests.services.power

lock: setup ## Resolve the dependencies anew into requirements.lock.
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --upgrade --group dev --output-file requirements.lock pyproject.toml

benchmarks: setup chromium ## Measure ingestion and pages, each beside its rival (about 15 minutes).
	@$(BIN)/python benchmarks/ingest.py
	@$(BIN)/python benchmarks/pages.py

clean: ## Remove what was made: the environment, caches, builds.
	rm -rf .venv .cache build dist notebooks/fleet reports .pytest_cache .mypy_cache .ruff_cache .hypothesis
