# Each target does its own set-up: a fresh clone needs Python 3.11 or newer and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)

export PATH := $(abspath $(BIN))$(if $(filter Windows_NT,$(OS)),;,:)$(PATH)

SOURCES := $(wildcard src/backends/*.py src/backends/*/*.py src/backends/*/static/* src/backends/py.typed \
    src/backends/_openmp/*.[ch] src/backends/_openmp/meson.build)
# The optional backends that a machine without a GPU can have; MKL's wheels are for x86-64.
COMMA := ,
PEERS := torch,jax,numexpr,numba$(if $(filter x86_64 AMD64,$(shell uname -m)),$(if $(filter Darwin,$(shell uname -s)),,$(COMMA)mkl))
# The CUDA that the driver knows: 12 or 13. Empty without a GPU.
CUDA = $(shell nvidia-smi 2>/dev/null | sed -n 's/.*CUDA Version: *\([0-9]*\).*/\1/p')
# What the command line adds: make bench ARGS="sin erf --size 1e7"
ARGS ?=

.PHONY: help bench asv bench-tests test test-peers test-gpu test-sanitized conformance peers lint clean

help: ## what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

bench: $(VENV)/installed ## time every kernel on every backend of this machine
	@$(BIN)/backends bench $(ARGS)

# What asv measures: quick (minutes), regular or full (hours). See benchmarks/suite/common.py.
asv: export BACKENDS_ASV_PROFILE ?= quick
asv: $(VENV)/installed ## measure HEAD with asv, in an environment of its own; results/ keeps it
	@machine="$$($(BIN)/backends machine --name)" && \
	$(BIN)/asv run --machine "$$machine" --record-samples $(ARGS) "HEAD^!"

bench-tests: $(VENV)/installed ## time every kernel with pytest-benchmark
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only --benchmark-group-by=group \
	    --benchmark-columns=median,iqr,rounds --benchmark-sort=name --timeout=0 $(ARGS)

test: $(VENV)/installed ## run the tests
	$(BIN)/python -m pytest $(ARGS)

peers: $(VENV)/peers ## install the libraries that the optional backends call, for a CPU (3 GB)

test-peers: $(VENV)/peers ## test the optional backends, all that run without a GPU
	$(BIN)/python -m pytest tests/engines/test_peers.py --require $(PEERS) $(ARGS)

test-gpu: $(VENV)/installed ## run the tests that need a GPU, with CuPy and what else is installed
	@[ -n "$(CUDA)" ] || { echo "no GPU here: nvidia-smi does not answer"; exit 1; }
	@$(BIN)/python -m pip install --quiet --no-build-isolation ".[cuda$(CUDA)]"
	$(BIN)/python -m pytest -m gpu --require cupy $(ARGS)

test-sanitized: $(VENV)/installed ## test the C code under AddressSanitizer and UBSan (gcc, Linux)
	@rm -rf build/sanitized
	@$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps --target build/sanitized \
	    -Csetup-args=-Db_sanitize=address,undefined -Csetup-args=-Db_lundef=false .
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	    ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	    PYTHONPATH=$(abspath build/sanitized) \
	    $(BIN)/python -m pytest tests/engines/test_openmp.py tests/accelerate/test_install.py \
	    -p no:cacheprovider $(ARGS)

conformance: $(VENV)/installed ## NumPy's and SciPy's own tests, and all bits, with install() and without
	@status=0; \
	$(BIN)/python tests/conformance/corpus.py || status=1; \
	$(BIN)/python tests/conformance/upstream.py $(ARGS) || status=1; \
	exit $$status

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
	@$(BIN)/python -m pip install --quiet "meson-python>=0.18" "meson>=1.6" ninja "numpy>=2.1"
	@$(BIN)/python -m pip install --quiet --no-build-isolation --group dev .
	@touch $@

# Not an editable install: that one would look for work to do at every `import backends`.
$(VENV)/installed: $(VENV)/tools meson.build $(SOURCES)
	@$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps --force-reinstall .
	@touch $@

# A release of PyTorch by its number: a range would bring the newest, with gigabytes for GPUs.
TORCH ?= torch==2.13.0
$(VENV)/peers: $(VENV)/installed
	@echo "installing $(PEERS) into $(VENV) (minutes, once)"
	@$(BIN)/python -m pip install --quiet "$(TORCH)"
	@$(BIN)/python -m pip install --quiet --no-build-isolation ".[$(PEERS)]"
	@touch $@
