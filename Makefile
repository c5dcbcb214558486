# Each target does its own set-up: a fresh clone needs Python 3.11 or newer and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)

export PATH := $(abspath $(BIN))$(if $(filter Windows_NT,$(OS)),;,:)$(PATH)

SOURCES := $(wildcard src/backends/*.py src/backends/*/*.py src/backends/py.typed)
# What the command line adds: make bench ARGS="sin erf --size 1e7"
ARGS ?=

.PHONY: help bench test lint clean

help: ## what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

bench: $(VENV)/installed ## time every kernel on every backend of this machine
	@$(BIN)/backends bench $(ARGS)

test: $(VENV)/installed ## run the tests
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/installed ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean: ## remove what was built and installed
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/tools: pyproject.toml
	@echo "setting up $(VENV) (about half a minute, once)"
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'array-backends needs Python 3.11 or newer; this is ' + sys.version.split()[0] + '. Name one with: make PYTHON=python3.12')"
	@$(PYTHON) -m venv $(VENV) || { echo "no venv module: on Debian and Ubuntu, apt install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --quiet "meson-python>=0.18" "meson>=1.6" ninja
	@$(BIN)/python -m pip install --quiet --no-build-isolation --group dev .
	@touch $@

# Not an editable install: that one would look for work to do at every `import backends`.
$(VENV)/installed: $(VENV)/tools meson.build $(SOURCES)
	@$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps --force-reinstall .
	@touch $@
