"""The page in a real browser: no error, no request, filters and keys that work."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from backends.history import asv
from backends.history.data import Machine
from backends.history.findings import find

pytest.importorskip("altair", reason="the report needs Altair: pip install '.[report]'")
pytest.importorskip("vl_convert", reason="the report needs vl-convert: pip install '.[report]'")

sys.path.insert(0, str(Path(__file__).parent))
import browser
from synthetic import Suite, machine_name, write

from backends.history.page import Bundle, page

pytestmark = pytest.mark.skipif(
    browser.found() is None, reason=f"there is no browser: none of {', '.join(browser.NAMES)}"
)

SUITE = Suite(
    kernels=("sin", "exp", "erf"),
    backends=("numpy", "threads", "openmp"),
    dtypes=("float32", "float64"),
    sizes=(1_000, 30_000, 1_000_000),
)
SAID = "memory 12.5 GB/s, L3 60 GB/s, GEMM float64 60 GFLOP/s, GEMM float32 120 GFLOP/s"
TAB, ENTER = ("Tab", 9), ("Enter", 13)


def slow(commit, kernel, backend, size):
    return 1.5 if kernel == "sin" and backend == "openmp" and commit >= 8 else 1.0


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Give a page of two machines; the ceilings of one are known, and one file is cut short."""
    home = tmp_path_factory.mktemp("page")
    folder = write(home / "results", SUITE, machines=2, commits=16, slow=slow)
    damaged = sorted((folder / machine_name(1)).glob("*-virtualenv*.json"))[0]
    damaged.write_text(damaged.read_text()[:50])
    with Bundle() as bundle:
        history = asv.read(folder)
        name = machine_name(0)
        fields = {**history.machines[name].fields, "ceilings": SAID}
        history.machines[name] = Machine(name, fields)
        text = page(find(history), bundle.read(), "Backends over machines and commits")
    made = home / "report.html"
    made.write_text(text, encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def shown(file):
    with browser.Browser() as opened:
        opened.open(file)
        yield opened


@pytest.fixture
def view(shown, file):
    """Give the page as it is when first opened, and see that it never complained."""
    shown.open(
        file,
        f"#which=slower&where=all&machine={machine_name(0)}&benchmark=&dtype=float64&size=largest",
    )
    shown.js(
        "(choice.benchmark = 'elementwise.track_sin', choice.quantity = 'value', show(), drawn)"
    )
    yield shown
    assert shown.errors == []
    assert {each.partition("#")[0] for each in shown.requests} == {file.resolve().as_uri()}


def text(view, selector):
    return view.js(f"document.querySelector({json.dumps(selector)}).textContent")


def count(view, selector):
    return view.js(f"document.querySelectorAll({json.dumps(selector)}).length")


def test_page_is_drawn(view, tmp_path):
    for figure in ("speedup", "history", "roofline"):
        assert count(view, f"#{figure} svg path") > 5, figure
    assert count(view, "#matrix tbody tr") == 3
    assert count(view, "#matrix tbody button") == 6
    assert "openmp" in text(view, "#matrix")
    assert "1 problem" in text(view, "header")
    assert "cut short" in text(view, "section[aria-labelledby='left-out']")
    view.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 20_000


def test_filters_change_what_is_shown(view):
    assert text(view, "#speedup + figcaption").startswith("sin, float64, on CPU model 0")
    before = text(view, "#speedup-table caption")
    view.choose("benchmark", "elementwise.track_exp")
    assert text(view, "#speedup + figcaption").startswith("exp, float64")
    view.choose("dtype", "float32")
    assert text(view, "#speedup + figcaption").startswith("exp, float32")
    assert text(view, "#speedup-table caption") != before
    view.choose("machine", machine_name(1))
    assert "CPU model 1" in text(view, "#history + figcaption")
    assert "No ceilings" in text(view, "#roofline + figcaption")
    assert count(view, "#roofline svg") == 0
    view.choose("size", "30000")
    assert "size 30,000" in text(view, "#history + figcaption")
    assert "size=30000" in view.js("location.hash")


def test_a_backend_can_be_left_out(view):
    rows = count(view, "#speedup-table tbody tr")
    box = "document.querySelector('#labels input[value=threads]')"
    view.js(f"({box}.click(), drawn)")
    assert count(view, "#speedup-table tbody tr") == rows * 2 // 3
    view.js(f"({box}.click(), drawn)")
    assert count(view, "#speedup-table tbody tr") == rows


def test_other_benchmarks_have_a_history(view):
    view.choose("benchmark", "package.peakmem_joblib")
    assert "package.peakmem_joblib" in text(view, "#history + figcaption")
    assert count(view, "#history svg path") > 5
    assert "times no kernel" in text(view, "#speedup + figcaption")
    assert view.js("document.getElementById('dtype').disabled")


def test_numbers_are_those_of_the_data(view):
    found = view.js(
        "seriesOf(choice.machine).find((s) => s.label === 'openmp' && s.size === 1000"
        " && s.dtype === 'float64' && s.benchmark === choice.benchmark).values()"
    )
    assert [at for at, _ in found] == list(range(16))
    ratio = found[-1][1] / found[0][1]
    assert 1.35 < ratio < 1.65


def test_slower_commits_are_listed_and_marked(view):
    assert text(view, "#changes-table caption") == "12 found"
    assert "Steps to slower: 1" in text(view, "#history + figcaption")
    view.choose("where", "this")
    assert text(view, "#changes-table caption") == "6 found"
    view.choose("which", "faster")
    assert text(view, "#changes-table caption") == "0 found"
    view.choose("quantity", "speedup")
    assert "times numpy's speed" in text(view, "#history + figcaption")
    # openmp became slower, and its speedup less; that is marked there too.
    assert "Steps to less: 1; to more: 0" in text(view, "#history + figcaption")
    view.choose("which", "lost")
    assert text(view, "#changes-table caption") == "6 found"
    rows = count(view, "#history-table tbody tr")
    assert rows == 3 * 16
    intervals = view.js(
        "[...document.querySelectorAll('#history-table tbody tr')].filter((row) =>"
        " / to /.test(row.lastChild.textContent)).length"
    )
    assert intervals == 2 * 16  # all but numpy's own


def test_what_has_no_place_on_the_axis_is_counted_and_in_the_table(view):
    view.choose("benchmark", "package.peakmem_joblib")
    changed = (
        "(seriesOf(choice.machine).find((s) => s.benchmark === choice.benchmark).values = () => {})"
    )
    view.js(changed.replace("() => {}", "() => [[0, 0], [1, 5]]") + " && (show(), drawn)")
    assert "1 value has no place in the figure" in text(view, "#history + figcaption")
    assert count(view, "#history-table tbody tr") == 2
    view.js("(unpacked.clear(), show(), drawn)")
    assert "no place" not in text(view, "#history + figcaption")


def test_of_choices_in_a_row_the_last_is_drawn(view):
    view.js(
        "Promise.all(['exp', 'erf', 'sin'].map((kernel) => {"
        " choice.benchmark = `elementwise.track_${kernel}`; show(); return drawn; }))"
    )
    assert text(view, "#speedup + figcaption").startswith("sin, float64")
    assert count(view, "#speedup svg") == count(view, "#history svg") == 1
    # Only sin has a step.
    assert view.js("views.history.view.data('rows').some((each) => each.kind === 'change')")
    # Nothing is drawn into a figure that was emptied in between.
    view.js(
        "Promise.all(['elementwise.track_sin', 'package.peakmem_joblib'].map((name) => {"
        " choice.benchmark = name; show(); return drawn; }))"
    )
    assert count(view, "#speedup svg") == 0


def test_each_choice_is_announced(view):
    announced = set()
    for name, value in (
        ("dtype", "float32"),
        ("size", "30000"),
        ("quantity", "speedup"),
        ("which", "faster"),
        ("where", "this"),
        ("machine", machine_name(1)),
        ("benchmark", "elementwise.track_erf"),
    ):
        view.choose(name, value)
        announced.add(text(view, "#said"))
    view.js("(document.querySelector('#labels input[value=threads]').click(), drawn)")
    assert "without threads" in text(view, "#said")
    view.js("(document.querySelector('#labels input[value=threads]').click(), drawn)")
    assert len(announced) == 7


def test_an_address_of_what_is_not_there_shows_what_is(view):
    address = "#quantity=nonsense&which=&where=x&size=7&machine=none&dtype=none"
    view.js(
        "new Promise((done) => {"
        " addEventListener('hashchange', () => setTimeout(() => drawn.then(done)), {once: true});"
        f" location.hash = {json.dumps(address)}; }})"
    )
    assert view.js("[choice.quantity, choice.which, choice.where]") == ["value", "slower", "all"]
    assert "undefined" not in view.js("document.body.innerText")


def test_keyboard_reaches_everything(view):
    view.js("document.activeElement.blur()")
    reached = []
    for _ in range(40):
        view.press(*TAB)
        reached.append(view.js("document.activeElement.id || document.activeElement.textContent"))
    assert reached[0] == "Skip to the results"
    for name in ("theme", "machine", "benchmark", "dtype", "size", "Backends", "quantity"):
        assert name in reached, name
    view.js("document.querySelectorAll('#matrix button')[1].focus()")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    view.press(*TAB)
    assert view.js(outline) == "solid"
    chosen = view.js("document.activeElement.getAttribute('aria-label')")
    view.press(*ENTER, text="\r")
    view.until("document.activeElement.id === 'sizes'")
    kernel, machine = chosen.partition(":")[0].split(" on ", 1)
    assert text(view, "#speedup + figcaption").startswith(f"{kernel}, float64, on {machine}")


def test_escape_closes_the_list_of_backends(view):
    view.js("(document.querySelector('#filters details').open = true)")
    view.js("document.querySelector('#labels input').focus()")
    view.press("Escape", 27)
    assert not view.js("document.querySelector('#filters details').open")
    assert view.js("document.activeElement.textContent") == "Backends"


def test_everything_has_a_name_for_screen_readers(view):
    # The browser's own tree of what it tells screen readers.
    tree = view.ask("Accessibility.getFullAXTree")["nodes"]
    controls = {"button", "combobox", "checkbox", "table", "img", "image", "region", "form"}
    unnamed = [
        (node["role"]["value"], node.get("name"), node.get("backendDOMNodeId"))
        for node in tree
        if not node["ignored"]
        and node["role"]["value"] in controls
        and not node.get("name", {}).get("value")
    ]
    assert unnamed == []
    assert view.js("document.documentElement.lang") == "en"
    levels = view.js("[...document.querySelectorAll('h1, h2, h3')].map((h) => +h.tagName[1])")
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_dark_follows_the_system_and_the_button(file):
    background = "getComputedStyle(document.body).backgroundColor"
    with browser.Browser(dark=True) as opened:
        opened.open(file)
        dark = opened.js(background)
        assert opened.js("document.getElementById('theme').getAttribute('aria-pressed')") == "true"
        opened.js("(document.getElementById('theme').click(), drawn)")
        assert opened.js(background) != dark
        assert opened.errors == []


def test_a_phone_scrolls_down_only(file):
    with browser.Browser(width=390, height=800) as opened:
        opened.open(file)
        assert opened.js("document.documentElement.scrollWidth") == 390
        chart = opened.js("document.querySelector('#speedup svg').getBoundingClientRect().right")
        assert chart <= 390
        assert opened.errors == []


def test_where_nothing_could_be_read_the_page_says_so(tmp_path):
    folder = write(tmp_path / "results", SUITE, machines=1, commits=1)
    for damaged in folder.glob("*/*-virtualenv*.json"):
        damaged.write_text(damaged.read_text()[:50])
    made = tmp_path / "report.html"
    made.write_text(page(find(asv.read(folder)), "", "Title"), encoding="utf-8")
    with browser.Browser() as opened:
        opened.open(made)
        assert "No result could be read" in text(opened, "#said")
        assert "cut short" in text(opened, "section[aria-labelledby='left-out']")
        assert opened.errors == []
