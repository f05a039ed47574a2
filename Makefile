# `make train` and `make test` do all the set-up there is; `make help` lists the rest.
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1
PYTHON ?= python3.11
BIN := .venv/bin
INSTALLED := .venv/.installed
SPARK35 := .venv-spark35
D3RLPY := .venv-d3rlpy
ON_SPARK35 := tests/warehouse tests/timesteps tests/sources tests/trajectories tests/profiles tests/period tests/scoring \
	tests/end_to_end/test_cluster.py

.PHONY: help setup train test test-spark35 lint bench bench-d3rlpy clean
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

train: setup ## train an agent on the shipped cartpole application, from logs to a registered model
	@PATH="$(CURDIR)/$(BIN):$$PATH" mlflow run . -e train --env-manager local

test: setup ## every test
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-spark35: $(SPARK35)/.installed ## the tests of the Spark part on pyspark 3.5, in an environment of its own; not in CI
	@sh scripts/ensure_java.sh
	@$(SPARK35)/bin/python -m pytest $(ON_SPARK35)

lint: setup ## style, types and the import contract
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: setup ## the ratios of benchmarks/README.md, measured again
	@$(BIN)/python -m benchmarks

bench-d3rlpy: setup $(D3RLPY)/.installed ## training again, and beside d3rlpy in an environment of its own (several GB)
	@$(BIN)/python -m benchmarks.training

setup: $(INSTALLED) ## .venv with every pin, and Java for Spark
	@sh scripts/ensure_java.sh

$(INSTALLED): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "rlbake needs Python 3.11: install it, or name it with make PYTHON=..." >&2; exit 1; }
	@test -d .venv || $(PYTHON) -m venv .venv
	@echo "Installing rlbake's pinned packages into .venv (a few minutes, once)"
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

$(SPARK35)/.installed: pyproject.toml
	@test -d $(SPARK35) || $(PYTHON) -m venv $(SPARK35)
	@echo "Installing the pinned packages, but pyspark 3.5, into $(SPARK35) (a few minutes, once)"
	@sed -n 's/^  "\([^"]*==[^"]*\)",$$/\1/p' pyproject.toml | sed 's/^pyspark==.*/pyspark==3.5.9/' \
		> $(SPARK35)/requirements.txt
	@$(SPARK35)/bin/python -m pip install --quiet --requirement $(SPARK35)/requirements.txt
	@touch $@

$(D3RLPY)/.installed:
	@test -d $(D3RLPY) || $(PYTHON) -m venv $(D3RLPY)
	@echo "Installing d3rlpy, whose gym is newer than rlbake's, into $(D3RLPY) (several GB, once)"
	@$(D3RLPY)/bin/python -m pip install --quiet d3rlpy==2.8.1
	@touch $@

clean: ## remove what runs left behind: tables, the local MLflow store, caches
	rm -rf quickstart_*.png tables mlruns mlartifacts mlflow.db .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
