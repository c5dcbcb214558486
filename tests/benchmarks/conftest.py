"""Benchmarks run when they are asked for: `make bench-tests`, or pytest with --benchmark-only."""

from __future__ import annotations


def pytest_ignore_collect(config):
    # None leaves it to others. pytest-benchmark, whose option it is, need not be installed.
    return None if config.getoption("benchmark_only", default=False) else True
