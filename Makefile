# Two commands: `make demo` and `make test`. Each builds .venv first when it is missing or out of date.
#   CUDA=1            the CUDA wheels instead of the CPU ones
#   TORCH_INDEX=URL   take torch (and, with CUDA=1, fbgemm-gpu) from this package index only
#   SAMPLES=DIR       `make test`: also run the tests on real samples lying in DIR
#   PYTHON=python3.12 the interpreter that .venv is made with
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BUILD := $(if $(CUDA),cuda,cpu)
STAMP := $(VENV)/.installed-$(BUILD)
CONSTRAINTS := packaging/constraints.txt
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check
# Without QUIET= pip tells only what goes wrong.
QUIET ?= --quiet

# Neither build of torch is sure to be on pip's default index: ask PyTorch's own first, quickly, then go on without it.
PYTORCH_INDEX := https://download.pytorch.org/whl/$(if $(CUDA),cu130,cpu)
FROM_TORCH_INDEX := torch==2.13.0 $(if $(CUDA),fbgemm-gpu==1.8.0)
# The CUDA fbgemm-gpu fails to load without CUDA; the shim answers to its name with the CPU build.
FBGEMM := $(if $(CUDA),fbgemm-gpu==1.8.0,./packaging/fbgemm-gpu-shim)

.PHONY: help demo test lint format types bench-extra check-python clean venv

help:  ## what can be made
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

demo: $(STAMP)  ## the whole way on a made world: segment interest, scores, ranker, results, page
	$(VENV)/bin/segrec demo --overwrite

test: $(STAMP)  ## all tests (SAMPLES=DIR adds those on real samples)
	$(VENV)/bin/python -m pytest $(if $(SAMPLES),--samples=$(SAMPLES))

lint: $(VENV)/.dev  ## style and the direction of imports
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports

format: $(VENV)/.dev  ## put every file into the project's format
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

types: $(VENV)/.dev  ## strict type check
	$(VENV)/bin/mypy

bench-extra: $(STAMP)  ## the peers and baselines that benchmarks/ and LightGBM's prior need
	$(PIP) install $(QUIET) -c $(CONSTRAINTS) -e '.[test,bench]'

venv: $(STAMP)  ## only the environment

clean:  ## remove .venv, caches and runs/
	rm -rf $(VENV) runs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

check-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "segrec needs Python >= 3.11; found: $$($(PYTHON) --version 2>&1). Pass another: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) has no venv module. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

$(STAMP): pyproject.toml $(CONSTRAINTS) packaging/fbgemm-gpu-shim/pyproject.toml | check-python
	@if [ -n "$$(find $(VENV) -maxdepth 1 -name '.installed-*' ! -name '.installed-$(BUILD)' 2>/dev/null)" ]; then \
	  echo "$(VENV) holds the other build of torch: making it anew"; rm -rf $(VENV); fi
	@echo "making $(VENV) ($(BUILD)): a minute or two, a few hundred megabytes"
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
ifdef TORCH_INDEX
	$(PIP) install $(QUIET) --no-deps --index-url $(TORCH_INDEX) $(FROM_TORCH_INDEX)
else
	$(PIP) install $(QUIET) --no-deps --timeout 10 --retries 0 --index-url $(PYTORCH_INDEX) $(FROM_TORCH_INDEX) || \
	  echo "$(PYTORCH_INDEX) gave no torch: taking what pip finds elsewhere"
endif
	$(PIP) install $(QUIET) -c $(CONSTRAINTS) $(FBGEMM) -e '.[test]'
	@touch $@

$(VENV)/.dev: $(STAMP)
	$(PIP) install $(QUIET) -c $(CONSTRAINTS) -e '.[test,dev]'
	@touch $@
