"""The page as a file: what is in it, that it asks for nothing, and what the command says."""

from __future__ import annotations

import base64
import csv
import html.parser
import json
import math
import re
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from backends.cli.app import app
from backends.history import asv, drawing, figures, tables
from backends.history.data import SKIPPED, HistoryError, Problem
from backends.history.findings import find
from backends.history.page import INTERVALS, page

pytest.importorskip("altair", reason="the report needs Altair: pip install '.[report]'")
pytest.importorskip("vl_convert", reason="the report needs vl-convert: pip install '.[report]'")

sys.path.insert(0, str(Path(__file__).parent))
import mutations
from synthetic import Suite, machine_name, write

SUITE = Suite(
    kernels=("sin", "exp"),
    backends=("numpy", "openmp", "cupy"),
    sizes=(1_000, 30_000, 1_000_000),
    absent=("cupy",),
)


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "results", SUITE, machines=2, commits=3)


def report(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def page_of(history, bundle=""):
    return page(find(history), bundle, "Title")


def data_of(text):
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def unpacked(text, name):
    """Unpack numbers as the script in the page does."""
    packed = base64.b64decode(re.search(rf'id="{name}">(.*?)</script>', text)[1])
    upper = np.frombuffer(packed, np.uint8).reshape(-1, 3)
    return np.pad(upper, ((0, 0), (0, 1))).view(">f4")


def values_of(text, machine):
    """Give the values of a machine as the script in the page reads them."""
    table = data_of(text)["tables"][machine]
    whole = unpacked(text, f"values-{table['id']}")
    return table, whole.reshape(len(table["series"]), len(table["commits"]))


def as_asv_reads(folder):
    """Give every number with its machine, commit, benchmark and parameters, by asv's own code."""
    results = pytest.importorskip("asv.results", reason="asv is not installed")
    from asv.util import load_json

    benchmarks = load_json(folder / "benchmarks.json", 2)
    for each in results.iter_results(str(folder)):
        for name in each.get_result_keys(benchmarks):
            params = benchmarks[name]["params"]
            for key, value in zip(product(*params), each.get_result_value(name, params)):
                if value is not None and not math.isnan(value):
                    shown = tuple(text.strip("'") for text in key)
                    yield each.params["machine"], each.commit_hash, name, shown, value


def test_numbers_are_those_of_asvs_own_reader(folder):
    text = page_of(asv.read(folder))
    data = data_of(text)
    hashes = [commit[0] for commit in data["commits"]]
    shown = {}
    for machine in data["tables"]:
        table, values = values_of(text, machine)
        for (benchmark, dtype, size, label), row in zip(table["series"], values):
            params = (label, dtype, str(size)) if dtype else ()
            for at, value in zip(table["commits"], row):
                if not np.isnan(value):
                    shown[machine, hashes[at], benchmark, params] = value
    expected = {key: value for *key, value in as_asv_reads(folder) for key in [tuple(key)]}
    assert shown.keys() == expected.keys()
    assert all(shown[key] == pytest.approx(expected[key], rel=2e-5) for key in shown)
    # Speedups are quotients of asv's medians.
    columns = data["speedups"]["columns"]
    for row in data["speedups"]["rows"]:
        each = dict(zip(columns, row))
        case = each["machine"], each["commit"], each["benchmark"]
        numpy = expected[(*case, ("numpy", each["dtype"], str(each["size"])))]
        own = expected[(*case, (each["backend"], each["dtype"], str(each["size"])))]
        assert each["speedup"] == pytest.approx(numpy / own)


def test_intervals_of_speedups_are_those_of_the_newest_commits(tmp_path):
    commits = INTERVALS + 3
    suite = Suite(kernels=("sin",), sizes=(1_000,))
    found = find(asv.read(write(tmp_path / "results", suite, machines=1, commits=commits)))
    text = page(found, "", "Title")
    [(machine, table)] = data_of(text)["tables"].items()
    assert table["intervals"] == INTERVALS
    ends = unpacked(text, f"intervals-{table['id']}").reshape(2, len(table["series"]), INTERVALS)
    expected = found.speedups[machine][1:, :, -INTERVALS:]
    np.testing.assert_allclose(ends, expected, rtol=2e-5)
    assert np.isfinite(ends).any()


class Addresses(html.parser.HTMLParser):
    """Collects what a browser would ask for."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [v for k, v in attrs if k in ("src", "href", "action", "srcset", "data")]


def test_page_names_nothing_outside(folder):
    parser = Addresses()
    parser.feed(page_of(asv.read(folder)))
    assert parser.found == ["data:,", "#fastest"]


def test_what_is_seen_first_comes_before_what_is_large(folder):
    # The first paint of a large page is timed by benchmarks/report.py.
    text = page_of(asv.read(folder), bundle="1;")
    assert text.index("</main>") < text.index("<script")


def test_names_are_text_not_markup(folder):
    history = asv.read(folder)
    evil = '</script><script>alert("x")</script><img src=x>'
    history.machines = {
        name: each._replace(fields={**each.fields, "gpu": evil})
        for name, each in history.machines.items()
    }
    history.measurements = [
        each._replace(params=(evil, *each.params[1:])) if each.params[:1] == ("openmp",) else each
        for each in history.measurements
    ]
    history.problems.append(Problem(evil, evil))
    text = page_of(history)
    assert "<img src=x>" not in text
    assert "alert(" in text
    assert evil in data_of(text)["backends"]


def test_what_was_left_out_is_counted_and_named(folder):
    files = sorted(folder.glob("*/*-virtualenv*.json"))
    files[0].write_text(files[0].read_text()[:100])
    text = page_of(asv.read(folder))
    history = asv.read(folder)
    # 6 results of cupy in each of 5 files: no problem, but not a silent one.
    assert "Left out: 1 problem, 30 skipped results" in text
    place = f"{files[0].parent.name}/{files[0].name}"
    assert [problem.where for problem in history.problems if problem.reason != SKIPPED] == [place]
    left_out = text[text.index('id="left-out"') :]
    # What is damaged stands first, however much was skipped before.
    assert left_out.index(place) < left_out.index(" and 4 more")
    assert "30 results that were skipped, or are NaN: elementwise.track_exp" in left_out


def test_many_files_without_a_backend_do_not_hide_a_damaged_one(folder):
    history = asv.read(folder)
    skipped = [Problem(f"a/{i}.json", SKIPPED, 4, ("x",)) for i in range(5000)]
    history.problems = [*skipped, Problem("z/last.json", "is no JSON, or cut short (at byte 9)")]
    text = page_of(history)
    assert "z/last.json" in text
    assert "a/0.json and 4,999 more" in text
    assert "Left out: 1 problem, 20,000 skipped results" in text


def test_command_writes_page_tables_and_figures(folder, tmp_path):
    outcome = report(folder, "-o", tmp_path / "r.html", "--figures", tmp_path / "figures")
    assert outcome.exit_code == 0, outcome.output
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "vegaEmbed" in text
    assert len(text) < 10e6
    rows = list(csv.DictReader((tmp_path / "r.csv").read_text().splitlines()))
    content = json.loads((tmp_path / "r.json").read_text())
    assert len(rows) == len(content["speedups"]) == 2 * 2 * 2 * 3
    assert {row["verdict"] for row in rows} >= {"baseline", "faster"}
    markdown = (tmp_path / "r.md").read_text()
    assert f"| Kernel | {machine_name(0)} | {machine_name(1)} |" in markdown
    names = {file.name for file in (tmp_path / "figures").iterdir()}
    assert {"matrix.svg", "matrix.png"} <= names
    assert sum(name.startswith("speedup-") for name in names) == 4
    assert sum(name.startswith("history-") for name in names) == 4
    for file in (tmp_path / "figures").glob("*.svg"):
        assert "openmp" in file.read_text()
    assert (tmp_path / "figures" / "matrix.png").read_bytes().startswith(b"\x89PNG")
    # A second report may replace the first.
    assert report(folder, "-o", tmp_path / "r.html").exit_code == 0


def test_without_numpy_there_are_figures_of_the_history_only(tmp_path):
    suite = Suite(kernels=("sin",), backends=("openmp", "threads"))
    folder = write(tmp_path / "results", suite, machines=1, commits=2)
    outcome = report(folder, "-o", tmp_path / "r.html", "--figures", tmp_path / "figures")
    assert outcome.exit_code == 0, outcome.output
    names = {file.name.partition("-")[0] for file in (tmp_path / "figures").iterdir()}
    assert names == {"history"}


def test_command_does_not_replace_what_is_no_report(folder, tmp_path):
    (tmp_path / "results.json").write_text("mine")
    outcome = report(folder, "-o", tmp_path / "results.html")
    assert outcome.exit_code == 2
    assert "results.json is there already" in outcome.output
    assert (tmp_path / "results.json").read_text() == "mine"


@pytest.mark.parametrize("name", ["page", "page.json", "missing/page.html"])
def test_command_refuses_an_output_that_cannot_be(folder, tmp_path, name):
    assert report(folder, "-o", tmp_path / name).exit_code == 2


def test_empty_folder_says_what_to_run(tmp_path):
    (tmp_path / "results").mkdir()
    outcome = report(tmp_path / "results", "-o", tmp_path / "r.html")
    assert outcome.exit_code == 2
    assert "asv run" in outcome.output
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize("name", ["results", "results/"])
def test_missing_folder_says_what_to_run(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    outcome = report(name, "-o", tmp_path / "r.html")
    assert outcome.exit_code == 2
    assert "results is no folder: run `make asv`" in outcome.output


def test_markdown_has_names_as_text(folder):
    history = asv.read(folder)
    evil = "![x](http://x) *a* `b` \\| <i> [/b] &amp; ~~c~~ _d_"
    history.machines = {
        name: each._replace(fields={**each.fields, "gpu": evil})
        for name, each in history.machines.items()
    }
    text = tables.as_markdown(find(history), "Title")
    plain = r"\!\[x\](http://x) \*a\* \`b\` \\\| \<i\> \[/b\] \&amp; \~\~c\~\~ \_d\_"
    assert plain in text


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_any_value_may_be_another_one(tmp_path_factory, data):
    folder = mutations.whole(tmp_path_factory.mktemp("whole") / "results")
    with mutations.one_changed(folder, data):
        try:
            found = find(asv.read(folder, samples_of=()))
        except HistoryError:
            return
    text = page(found, "", "Title")
    assert data_of(text)["tables"].keys() == found.tables.keys()
    described = list(drawing._figures(found))
    assert all("datasets" in description for _, description in described)


@pytest.mark.parametrize("missing", ["altair", "vl_convert"])
def test_missing_library_names_its_install_command(folder, tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    outcome = report(folder, "-o", tmp_path / "r.html")
    assert outcome.exit_code == 2
    assert "pip install 'array-backends[report]'" in outcome.output


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear))


def contrast(one, two):
    low, high = sorted(map(luminance, (one, two)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", figures.PALETTES)
def test_contrast_is_enough_to_read(name):
    palette = figures.PALETTES[name]
    for text in ("text", "faint", "accent"):
        assert contrast(palette[text], palette["background"]) >= 4.5, text
    for shade in figures.SHADES[name]:
        assert contrast(palette["text"], shade) >= 4.5, shade
    for colour in figures.COLOURS:
        assert contrast(colour, palette["background"]) >= 3, colour


def test_of_very_many_reasons_the_first_are_listed():
    from backends.history import page as module

    many = [Problem(f"file{i}", f"reason {i}") for i in range(module.MOST_REASONS + 5)]
    assert f"The first {module.MOST_REASONS} of" in module._problems(many)


def test_without_altair_the_command_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(HistoryError, match="pip install"):
        figures.describe(["numpy"])


def test_the_figure_of_commits_marks_where_a_kernel_became_slower(tmp_path):
    folder = write(
        tmp_path / "results",
        Suite(kernels=("sin",)),
        machines=1,
        commits=24,
        slow=lambda commit, kernel, backend, size: 1.5 if commit >= 12 else 1.0,
    )
    found = find(asv.read(folder))
    rows = drawing._history(found, machine_name(0), "float64")
    assert {row["label"] for row in rows if row["kind"] == "change"}
    assert all(row["ratio"] > 1.2 for row in rows if row["kind"] == "change")


def test_a_script_that_cannot_be_made_is_told():
    from types import SimpleNamespace

    from backends.history.page import Bundle

    bundle = Bundle()
    bundle._process = SimpleNamespace(wait=lambda: 1)
    with pytest.raises(RuntimeError, match="could not make Vega's script"):
        bundle.read()
