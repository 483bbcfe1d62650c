# Everything is installed into .venv, and again only when pyproject.toml has changed.
# `make PYTHON=python3.12 test` takes another Python for a new .venv.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo gap speed test equivalence soak lint clean

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 19

demo: $(VENV)/installed-demo  ## run the original experiment, fastbp beside PyTorch, and answer its open question
	@$(RUN) -m bench.original
	@$(RUN) -m bench.gap --torch-runs 3

gap: $(VENV)/installed-demo  ## answer the open question with all runs
	@$(RUN) -m bench.gap

speed: $(VENV)/installed-bench  ## measure fastbp beside PyTorch, JAX and scikit-learn, and against the hardware's limit
	@$(RUN) -m bench.speed

test: lint $(VENV)/installed-test  ## lint, then run the tests
	@$(RUN) -m pytest

equivalence: $(VENV)/installed-test  ## train beside PyTorch and write down the differences in docs/equivalence.md
	@$(RUN) tests/equivalence.py

soak: $(VENV)/installed-test  ## run every script of tests/soak with its full count, some three hours on two cores
	@$(RUN) tests/soak/everything.py

lint: $(VENV)/installed-lint  ## check style (ruff) and types (mypy, strict)
	@$(RUN) -m ruff check .
	@$(RUN) -m mypy

clean:  ## remove .venv and all caches
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/installed-%: pyproject.toml | $(VENV)/created
	@echo "installing what 'make $*' needs into $(VENV)"
	@$(RUN) -m pip install -q -e '.[$*]'
	@touch $@

$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "fastbp needs Python 3.10 or newer")'
	@$(PYTHON) -m venv --clear $(VENV)
	@$(RUN) -m pip install -q --disable-pip-version-check --upgrade pip
	@touch $@
