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
# The backends whose workers are a cluster's; Ray, which is large, where it is asked for.
CLUSTERS := dask mpi
SPACE := $(subst ,, )
# The CUDA that the driver knows: 12 or 13. Empty without a GPU.
CUDA = $(shell nvidia-smi 2>/dev/null | sed -n 's/.*CUDA Version: *\([0-9]*\).*/\1/p')
# The tests of the C code.
C_TESTS := tests/engines/test_openmp.py tests/engines/test_extension.py \
    $(addprefix tests/accelerate/test_,install.py memory.py thread_budget.py)
# What the command line adds: make bench ARGS="sin erf --size 1e7"
ARGS ?=
# What must be there, or its tests fail instead of being skipped: make test REQUIRE=browser
REQUIRE ?=
# COVER=1: the tests count which lines of src/backends they reach; `make coverage` shows them.
PYTEST = $(BIN)/python -m $(if $(COVER),coverage run -m )pytest

.PHONY: help bench asv bench-tests test test-peers test-clusters test-gpu test-sanitized coverage \
    coverage-c mutants conformance peers docs lint wheel clean

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
	$(PYTEST) $(if $(REQUIRE),--require $(REQUIRE)) $(ARGS)

peers: $(VENV)/peers ## install the libraries that the optional backends call, for a CPU (3 GB)

test-peers: $(VENV)/peers ## test the optional backends, all that run without a GPU
	$(PYTEST) tests/engines/test_peers.py --require $(PEERS) $(ARGS)

test-clusters: $(VENV)/clusters ## test backends dask and mpi on worker processes; CLUSTERS=ray: ray
	$(PYTEST) $(CLUSTERS:%=tests/engines/test_%.py) tests/jobs/test_map_on_clusters.py \
	    --require $(subst $(SPACE),$(COMMA),$(CLUSTERS)) $(ARGS)

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

coverage: $(VENV)/installed ## run all tests, and show what of src/backends they do not reach (gcc, Linux)
	@rm -rf build/coverage
	$(MAKE) test test-peers test-clusters CLUSTERS="dask mpi ray" COVER=1
	$(MAKE) coverage-c
	@$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

# Not the built package of the other tests: what is counted is not what is installed. Counts are
# atomic, since threads of a team share them.
coverage-c: $(VENV)/installed ## the same of the C code alone
	@rm -rf build/coverage-c
	@$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps --target build/coverage-c/package \
	    -Cbuild-dir=build/coverage-c/objects -Csetup-args=-Db_coverage=true \
	    -Csetup-args=-Dc_args=-fprofile-update=atomic .
	PYTHONPATH=$(abspath build/coverage-c/package) $(BIN)/python -m pytest $(C_TESTS) -q -p no:cacheprovider
	$(BIN)/gcovr --txt-metric line --filter src/backends/_openmp/ --fail-under-line 95 build/coverage-c/objects

mutants: $(VENV)/mutants ## change the modules that [tool.mutmut] names, and list what no test notices
	@rm -rf build/mutants && mkdir -p build/mutants
	@cp -r src tests pyproject.toml build/mutants
	@cp "$$($(BIN)/python -c 'from backends.engines.openmp import load; print(load().__file__)')" \
	    build/mutants/src/backends
	cd build/mutants && $(abspath $(BIN))/mutmut run --max-children 1 $(ARGS)
	@cd build/mutants && $(abspath $(BIN))/mutmut results

conformance: $(VENV)/installed ## NumPy's and SciPy's own tests, and all bits, with install() and without
	@status=0; \
	$(BIN)/python tests/conformance/corpus.py || status=1; \
	$(BIN)/python tests/conformance/upstream.py $(ARGS) || status=1; \
	exit $$status

docs: $(VENV)/docs ## build the pages into build/docs, and check them: no warning, no dead link
	@rm -rf build/docs build/doctrees
	$(BIN)/python -m sphinx -q -W --keep-going -n -d build/doctrees docs build/docs
	$(BIN)/python -m pytest tests/test_site.py --require docs $(ARGS)

lint: $(VENV)/installed ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

wheel: $(VENV)/release ## build dist/ (sdist, wheel) and try the wheel where there is no compiler
	$(BIN)/python tools/wheel.py

clean: ## remove what was built and installed
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/tools: pyproject.toml
	@echo "setting up $(VENV) (about half a minute, once)"
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'array-backends needs Python 3.11 or newer; this is ' + sys.version.split()[0] + '. Name one with: make PYTHON=python3.12')"
	@$(PYTHON) -m venv $(VENV) || { echo "no venv module: on Debian and Ubuntu, apt install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --quiet "meson-python>=0.18" "meson>=1.6" ninja "numpy>=2.1" "setuptools-scm>=8"
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

$(VENV)/mutants: $(VENV)/installed
	@$(BIN)/python -m pip install --quiet --group mutants
	@touch $@

$(VENV)/clusters: $(VENV)/installed
	@echo "installing $(CLUSTERS) into $(VENV) (a minute, once)"
	@$(BIN)/python -m pip install --quiet --no-build-isolation ".[$(subst $(SPACE),$(COMMA),$(CLUSTERS))]"
	@touch $@

$(VENV)/release: $(VENV)/installed
	@$(BIN)/python -m pip install --quiet --group release
	@touch $@

$(VENV)/docs: $(VENV)/installed
	@echo "installing Sphinx into $(VENV) (seconds, once)"
	@$(BIN)/python -m pip install --quiet --group docs
	@touch $@
