# `make demo` and `make test` need git, make and Python >= 3.10; everything else goes into .venv.
PYTHON ?= python3
DATA ?=
QUICK ?=
BIN := .venv/bin
READY := .venv/.ready
UV := $(shell command -v uv 2>/dev/null)

.PHONY: help setup demo test test-slow lint types doctest tables check clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1 - \2/'

setup: $(READY)  ## install into .venv (repeated calls do nothing)

$(READY): pyproject.toml constraints.txt Makefile
ifeq ($(UV),)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python >= 3.10 is needed. Say which: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
else
	$(UV) venv --quiet --allow-existing --python '>=3.10,<3.14' .venv
	$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
endif
	@touch $@

demo: $(READY)  ## a run that stops itself; DATA=<folder with train/<class> and test/<class>> for your own pictures
	$(BIN)/lightning-interp demo $(if $(DATA),--data "$(DATA)") $(if $(QUICK),--quick)

test: $(READY)  ## the tests, without those marked slow
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(READY)  ## the slow tests
	$(BIN)/python -m pytest -m slow

doctest: $(READY)  ## the examples in docstrings
	$(BIN)/python -m pytest --doctest-modules lightning_interp

lint: $(READY)  ## ruff: style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## mypy, strict
	$(BIN)/mypy

tables: $(READY)  ## write the numbers in README.md from benchmarks/results
	$(BIN)/python -m benchmarks.tables

check: lint types test doctest test-slow  ## all of the above

clean:  ## remove what was built, the environment included
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache demo_logs lightning_logs
