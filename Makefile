# Everything is installed into .venv, and again only when pyproject.toml has changed.
# `make PYTHON=python3.12 test` takes another Python for a new .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
RUN := $(BIN)/python

# What `make bench` measures, as a range of git; BENCH is a regular expression over names of benchmarks.
COMMITS ?= HEAD^!
BENCH ?= .
# What `make compare` compares. Without HEAD it is the working tree, with all that is not committed.
BASE ?= HEAD
HEAD ?=

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo gap speed bench bench-site bench-check compare performance test docs release-check equivalence soak lint clean

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 19

demo: $(VENV)/installed-demo  ## run the original experiment, fastbp beside PyTorch, and answer its open question
	@$(RUN) -m bench.original
	@$(RUN) -m bench.gap --torch-runs 3
	@$(RUN) -m bench.digits

gap: $(VENV)/installed-demo  ## answer the open question with all runs
	@$(RUN) -m bench.gap

speed: $(VENV)/installed-bench  ## measure fastbp beside PyTorch, JAX and scikit-learn, and against the hardware's limit
	@$(RUN) -m bench.speed
	@$(RUN) -m bench.loops
	@$(RUN) -m bench.estimators
	@$(RUN) -m bench.many

bench: $(VENV)/installed-bench  ## measure HEAD, or COMMITS=first^..last, or BENCH=kernels alone, with asv
	@$(RUN) -m asv run --machine "$$($(RUN) -m bench.machine)" --skip-existing-successful --bench '$(BENCH)' '$(COMMITS)'

bench-site: $(VENV)/installed-bench  ## make pages of all results of asv
	@$(RUN) -m asv publish
	@echo "the pages are in .asv/html; '$(RUN) -m asv preview' shows them"

bench-check: $(VENV)/installed-test  ## see that asv's benchmarks load and that the engine is ahead of PyTorch
	@$(RUN) -m asv check -E existing
	@$(RUN) -m bench.guard

compare: $(VENV)/installed-bench  ## compare the speed of the working tree, or of HEAD=commit, with BASE=commit
	@$(RUN) -m bench.compare $(BASE) $(HEAD)

performance: $(VENV)/installed-demo  ## write docs/performance.md from the results that are stored
	@$(RUN) -m bench.performance

test: lint $(VENV)/installed-test  ## lint, then run the tests, two at a time
	@$(RUN) -m pytest -n 2 --dist worksteal

docs: $(VENV)/installed-docs  ## make the site in build/docs, with its gallery; a warning is an error
	@rm -rf build/docs docs/api/generated docs/auto_gallery
	@$(RUN) -m sphinx -W --keep-going -q -b html docs build/docs
	@$(RUN) docs/check_links.py build/docs
	@echo "the site is in build/docs/index.html"

release-check: $(VENV)/installed-release  ## build wheel and sdist, check them, and use them in an empty environment
	@$(RUN) tests/release.py

equivalence: $(VENV)/installed-test  ## train beside PyTorch and and scikit-learn, and write down the differences in docs
	@FASTBP_TESTS=whole $(RUN) tests/equivalence.py
	@$(RUN) tests/sklearn_page.py

soak: $(VENV)/installed-soak  ## run every script of tests/soak with its full count: half an hour, then the tests for each CPU and Python
	@$(RUN) tests/soak/everything.py

lint: $(VENV)/installed-lint  ## check style (ruff) and types (mypy, strict), and the public types as a user meets them (mypy, pyright)
	@$(RUN) -m ruff check .
	@$(RUN) -m mypy
	@$(RUN) -m mypy tests/typed_use.py
	@$(BIN)/basedpyright

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
