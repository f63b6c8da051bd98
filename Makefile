# Each recipe is one line. All that is needed before: make, and Python 3.11 or newer with venv.
# `make` runs everything that CI runs.

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
JOBS ?= 2
ARGS ?=

.PHONY: all demo test fmt lint types stateful crash interop bench bench-peers clean

all: lint types test

demo: $(VENV)/.all
	$(BIN)/entrepot demo $(ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal tests $(ARGS)

fmt: $(VENV)/.dev
	$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

lint: $(VENV)/.dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports && $(BIN)/codespell

types: $(VENV)/.dev
	$(BIN)/pyright --pythonpath $(BIN)/python

stateful: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --hypothesis-profile=long --timeout=3600 -o faulthandler_timeout=0 tests/stateful $(ARGS)

crash: $(VENV)/.dev
	$(BIN)/python -m pytest tests/crash $(ARGS)

interop: $(VENV)/.dev
	$(BIN)/python -m pytest -m interop tests $(ARGS)

bench-peers: $(VENV)/.bench
	apt-get install --yes redis-server && $(PIP) install vineyard vineyard-bdist

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis

# One environment; a stamp per set of extras that was installed into it.
$(VENV)/.all $(VENV)/.dev $(VENV)/.bench: $(VENV)/.made pyproject.toml
	$(PIP) install --editable '.[$(subst .,,$(notdir $@))]' && touch $@

$(VENV)/.made:
	$(if $(PYTHON),$(PYTHON) -m venv $(VENV) && touch $@,$(error no Python 3.11 or newer with venv: apt-get install python3-venv, or make PYTHON=/path/to/python))
