from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import files
from backends.bench import record
from backends.bench.record import (
    Ceilings,
    Conditions,
    Level,
    Rates,
    Record,
    RecordError,
    Result,
    Row,
)
from backends.machine import Machine

MACHINE = Machine(
    cpu="AMD EPYC",
    cores=2,
    memory=2**35,
    system="Linux",
    architecture="x86_64",
    blas="openblas 0.3.31 SkylakeX pthreads",
    gpu="",
    python="3.13.1",
    numpy="2.4.6",
    scipy="1.17.1",
    array_backends="0.1.0",
)
CONDITIONS = Conditions(2, 0.01, 0.0, -0.02, {"OMP_NUM_THREADS": "2"})
CEILINGS = Ceilings(
    2,
    ["threads", "openmp"],
    [Level("L2", 2**20, Rates(6e10, 1.2e11)), Level("memory", None, Rates(1e10, 2e10))],
    {"float64": Rates(3e10, 6e10)},
)


def make(**changes) -> Record:
    results = [
        Result("numpy", "ok", seconds=[0.5, 0.25], median=0.375, speedup=1.0, low=1.0, high=1.0),
        Result("threads", "invalid", reason="differs from the reference"),
    ]
    whole = Record(
        schema=record.SCHEMA,
        created="2026-01-02T03:04:05+00:00",
        n_jobs=2,
        seconds=60.0,
        universal=["threads", "joblib"],
        imports={},
        complete=True,
        machine=MACHINE,
        conditions=CONDITIONS,
        ceilings=CEILINGS,
        rows=[Row("sin", "elementwise", "elements", 1000, "1000", "float64", results)],
        skipped=["hypot has no complex128: float32, float64"],
    )
    return msgspec.structs.replace(whole, **changes)


@pytest.fixture
def saved(tmp_path) -> Path:
    target = tmp_path / "results.json"
    record.write(make(), target)
    return target


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """Give the user's folder for results, which does not exist yet."""
    monkeypatch.setattr(files, "data_folder", lambda name: tmp_path / "data" / name)
    return tmp_path / "data" / "bench"


def refused(source: Path) -> str:
    """Give what `read` says against `source`, which must name it and leave it as it was."""
    before = source.read_bytes()
    with pytest.raises(RecordError) as caught:
        record.read(source)
    assert source.read_bytes() == before
    assert str(source) in str(caught.value)
    return str(caught.value)


numbers = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
maybe = st.none() | numbers
results = st.builds(
    Result,
    backend=texts,
    status=st.sampled_from(["ok", "invalid", "failed", "refused", "one piece"]),
    way=st.sampled_from(["call", "resident", "out", "cold"]),
    reason=texts,
    seconds=st.lists(numbers, max_size=5),
    median=maybe,
    speedup=maybe,
    low=maybe,
    high=maybe,
    verdict=texts,
    flops_per_second=maybe,
    bytes_per_second=maybe,
    ceiling=maybe,
    bound=texts,
    above=st.booleans(),
)
rows = st.builds(
    Row,
    kernel=texts,
    family=texts,
    case=texts,
    size=st.integers(0, 2**63 - 1),
    shape=texts,
    dtype=texts,
    results=st.lists(results, max_size=3),
    noise=maybe,
    drift=maybe,
)
rates = st.builds(Rates, one=numbers, all=numbers)
levels = st.builds(Level, name=texts, size=st.none() | st.integers(0, 2**63 - 1), bandwidth=rates)
records = st.builds(
    make,
    created=texts,
    n_jobs=st.integers(1, 10_000),
    seconds=numbers,
    complete=st.booleans(),
    conditions=st.builds(
        Conditions,
        cores=st.integers(1, 10_000),
        others=maybe,
        steal=maybe,
        drift=numbers,
        variables=st.dictionaries(texts, texts, max_size=3),
    ),
    ceilings=st.builds(
        Ceilings,
        n_jobs=st.integers(1, 10_000),
        triad=st.lists(texts, max_size=2),
        levels=st.lists(levels, max_size=3),
        gemm=st.dictionaries(texts, rates, max_size=2),
    ),
    rows=st.lists(rows, max_size=3),
    skipped=st.lists(texts, max_size=3),
)


@given(records)
def test_what_is_written_is_read_to_the_last_bit(tmp_path_factory, whole):
    target = tmp_path_factory.getbasetemp() / "round-trip.json"
    record.write(whole, target)
    assert record.read(target) == whole


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_written_as_strict_json(number):
    row = make().rows[0]
    odd = msgspec.structs.replace(row.results[0], speedup=number, flops_per_second=number)
    text = record.encode(make(rows=[msgspec.structs.replace(row, results=[odd])]))

    def not_json(constant):
        raise AssertionError(f"{constant} is no JSON")

    json.loads(text, parse_constant=not_json)
    assert text.endswith(b"}\n")


def test_writing_replaces_what_was_there(saved):
    record.write(make(complete=False), saved)
    assert record.read(saved) == make(complete=False)
    assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_while_writing_leaves_the_old_file_and_no_other(saved, monkeypatch, error):
    before = saved.read_bytes()

    def fail(descriptor):
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises((type(error), RecordError)):
        record.write(make(complete=False), saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_failure_to_rename_leaves_no_temporary_file(tmp_path):
    target = tmp_path / "results.json"
    target.mkdir()
    with pytest.raises(RecordError, match=r"results\.json cannot be written"):
        record.write(make(), target)
    assert list(tmp_path.iterdir()) == [target]


def test_results_are_as_readable_as_any_other_new_file(saved):
    other = saved.with_name("other")
    other.touch()
    assert saved.stat().st_mode == other.stat().st_mode


def test_every_file_that_was_cut_short_is_refused(saved):
    whole = saved.read_bytes()
    cuts = [*range(200), *range(200, len(whole) - 2, 37), len(whole) - 3, len(whole) - 2]
    for end in cuts:
        saved.write_bytes(whole[:end])
        assert "cut short" in refused(saved)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no JSON"),
        (b"hello\n", "no JSON"),
        (b"{'schema': 1}", "no JSON"),
        (b"\xff\xfe{}", "no JSON"),
        (b'{"schema": 1, "seconds": NaN}', "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"{}", "no schema"),
        (b"[]", "no schema"),
        (b"null", "no schema"),
        (b'"schema"', "no schema"),
        (b'{"name": "a package", "version": 1}', "no schema"),
        (b'{"schema": null}', "no schema"),
        (b'{"schema": 1}', "schema 1"),
        (b'{"schema": 0}', "schema 0"),
        (b'{"schema": "1"}', "schema '1'"),
        (b'{"schema": {}}', "schema {}"),
        (b'{"schema": 2}', "schema 2; this version reads schema 3: measure again"),
        (b'{"schema": 3}', "missing required field"),
    ],
)
def test_what_is_no_record_is_refused_with_what_is_wrong(tmp_path, content, why):
    source = tmp_path / "foreign.json"
    source.write_bytes(content)
    assert why in refused(source)


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        (["seconds"], None, "$.seconds"),
        (["n_jobs"], "two", "$.n_jobs"),
        (["n_jobs"], 1.5, "$.n_jobs"),
        (["complete"], "yes", "$.complete"),
        (["rows"], {}, "$.rows"),
        (["machine"], "mine", "$.machine"),
        (["machine", "cores"], "2", "$.machine.cores"),
        (["machine", "colour"], "green", "colour"),
        (["colour"], "green", "colour"),
        (["rows", 0, "colour"], "green", "colour"),
        (["rows", 0, "results", 0, "colour"], "green", "colour"),
        (["rows", 0, "size"], "1e6", "$.rows[0].size"),
        (["rows", 0, "results", 0, "status"], "fine", "$.rows[0].results[0].status"),
        (["rows", 0, "results", 0, "seconds", 1], "1", "$.rows[0].results[0].seconds[1]"),
        (["rows", 0, "results", 0, "way"], "warm", "$.rows[0].results[0].way"),
        (["conditions", "drift"], "much", "$.conditions.drift"),
        (["ceilings", "levels", 0, "bandwidth"], 1.0, "$.ceilings.levels[0].bandwidth"),
        (["rows", 0, "results", 0, "median"], "1", "$.rows[0].results[0].median"),
    ],
)
def test_a_damaged_field_is_named(saved, path, value, where):
    content = json.loads(saved.read_bytes())
    inner = content
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    saved.write_text(json.dumps(content))
    assert where in refused(saved)


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | numbers | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["schema", "rows", "machine"]), inner, max_size=3)
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_no_content_raises_anything_else(tmp_path_factory, content):
    source = tmp_path_factory.getbasetemp() / "any.json"
    source.write_bytes(content)
    assert refused(source)


def test_a_file_that_is_not_there_or_is_a_folder_is_named(tmp_path):
    for source in (tmp_path / "none.json", tmp_path):
        with pytest.raises(RecordError, match=source.name):
            record.read(source)


@pytest.mark.parametrize("place", ["none", "file"])
def test_an_output_in_no_folder_is_refused_before_anything_is_measured(tmp_path, place):
    (tmp_path / "file").touch()
    with pytest.raises(RecordError) as caught:
        record.prepare(tmp_path / place / "out.json")
    assert str(tmp_path / place) in str(caught.value)
    assert "--output" in str(caught.value)


def test_a_folder_as_output_is_refused(tmp_path):
    with pytest.raises(RecordError, match="folder"):
        record.prepare(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", [300, 255, 250])
def test_an_output_of_which_write_could_not_make_a_file_is_refused_by_prepare(tmp_path, length):
    target = tmp_path / ("x" * length)
    with suppress(RecordError):
        record.write(make(), record.prepare(target))


@pytest.mark.parametrize("content", [b"", b"my thesis\n", b'{"schema": 3}', b'{"schema": 99}'])
def test_an_output_that_no_bench_wrote_is_refused_and_kept(tmp_path, content):
    target = tmp_path / "thesis.json"
    target.write_bytes(content)
    with pytest.raises(RecordError, match=r"thesis\.json"):
        record.prepare(target)
    assert target.read_bytes() == content


def test_results_of_an_earlier_bench_may_be_replaced(saved):
    before = saved.read_bytes()
    assert record.prepare(saved) == saved
    assert saved.read_bytes() == before


def test_a_new_output_is_not_made_yet(tmp_path):
    target = tmp_path / "out.json"
    assert record.prepare(target) == target
    assert list(tmp_path.iterdir()) == []


def test_an_output_without_folder_goes_to_the_current_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record.write(make(), record.prepare(Path("out.json")))
    assert record.read(tmp_path / "out.json") == make()


def test_without_output_the_users_folder_is_made_and_the_newest_file_found(data):
    for complete in (True, False, True, False):
        target = record.prepare(None)
        assert target.parent == data
        record.write(make(complete=complete), target)
        assert record.latest() == target
        # Names tell milliseconds apart.
        with tempfile.NamedTemporaryFile():
            while record.prepare(None) == target:
                pass


def test_a_users_folder_that_cannot_be_made_is_refused(data):
    data.parent.write_text("in the way")
    with pytest.raises(RecordError, match="cannot be written") as caught:
        record.prepare(None)
    assert str(data) in str(caught.value)


def test_before_the_first_bench_the_newest_results_are_asked_for_in_vain(data):
    with pytest.raises(RecordError, match="backends bench"):
        record.latest()
