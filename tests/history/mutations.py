"""Results as asv writes them, with one value changed to another, anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import strategies as st
from synthetic import Suite, write

__all__ = ["one_changed", "whole"]

JSON = st.one_of(
    *(st.none(), st.booleans(), st.text(max_size=8), st.just([]), st.just({})),
    *(st.integers(), st.sampled_from([0, -1, 2, 10**18, 10**40]), st.floats()),
    st.sampled_from(["NaN", "'NaN'", "nan", "1e400", "'0'", "'1e15'", "[/b]", "seconds"]),
    st.sampled_from(["memory 0 GB/s", "GEMM float64 1e400 GFLOP/s", "L3 1.2.3 GB/s"]),
)


def whole(folder: Path) -> Path:
    """Write small results with all that the readers look at."""
    suite = Suite(kernels=("sin", "matmul"), backends=("numpy", "openmp", "cupy"), absent=("cupy",))
    write(folder, suite, machines=1, commits=3)
    file = next(folder.glob("*/machine.json"))
    said = "memory 12.5 GB/s, L3 60 GB/s, GEMM float64 60 GFLOP/s"
    file.write_text(json.dumps({**json.loads(file.read_text()), "ceilings": said}))
    return folder


@contextmanager
def one_changed(folder: Path, data: st.DataObject) -> Iterator[Path]:
    """Change one value in one of the files, and put it back; gives the file."""
    results = sorted(folder.glob("*/*-*.json"))[0]
    files = [folder / "benchmarks.json", next(folder.glob("*/machine.json")), results]
    file = data.draw(st.sampled_from(files))
    text = file.read_text()
    content = json.loads(text)
    *most, last = data.draw(st.sampled_from(list(paths(content))))
    place = content
    for key in most:
        place = place[key]
    place[last] = data.draw(JSON)
    file.write_text(json.dumps(content))
    try:
        yield file
    finally:
        file.write_text(text)


def paths(content, path=()):
    """Give the path of every value within JSON."""
    within = content.items() if isinstance(content, dict) else enumerate(content)
    for key, each in within:
        yield (*path, key)
        if isinstance(each, dict | list):
            yield from paths(each, (*path, key))
