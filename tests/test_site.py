"""The pages that `make docs` has built: links lead somewhere, nothing comes from elsewhere."""

import re
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from typer import Context
from typer.main import get_command

import backends
from backends.cli.app import app

sys.path.insert(0, str(Path(__file__).parent / "history"))
import browser

ROOT = Path(__file__).parent.parent
SITE = ROOT / "build" / "docs"
#: Attributes by which a page loads what it shows, and those by which it leads elsewhere.
LOADING = {"src", "srcset", "poster", "data"}
LINKING = {"href", *LOADING}


class Page(HTMLParser):
    """What a page is made of: its anchors, what it links to, what it loads, its text."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.links, self.loads, self.words = set(), set(), set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        """Note an element."""
        for name, value in attributes:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            if name in LINKING and value:
                loads = name in LOADING or tag == "link"
                (self.loads if loads else self.links).add(value)
            if name == "style":
                self.loads |= set(addresses(value or ""))

    def handle_data(self, data):
        """Note text; that of styles and scripts too."""
        self.words.append(data)


def addresses(style):
    """Give what a style sheet loads."""
    return re.findall(r"(?:url\(|@import )\s*[\"']?([^\"')]+)", style)


def outside(address):
    parts = urlsplit(address)
    return parts.scheme not in ("", "data") or bool(parts.netloc)


def dead(pages, files):
    """Give the links that lead nowhere, with their pages."""
    found = []
    for name, page in pages.items():
        for link in sorted(page.links | page.loads):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            folder = Path(name).parent
            target = (folder / unquote(parts.path)).as_posix() if parts.path else name
            target = Path(re.sub(r"[^/]+/\.\./", "", target)).as_posix()
            anchor = unquote(parts.fragment)
            known = pages[target].anchors if target in pages else ()
            if target not in files or (anchor and target in pages and anchor not in known):
                found.append((name, link))
    return found


def test_a_dead_link_is_found():
    pages = {
        "a.html": Page('<a href="b.html#there"></a><a href="#x" id="here"></a><img src="c.png">'),
        "b.html": Page('<p id="there"><a href="a.html#here"></a><a href="https://e.org"></a></p>'),
    }
    assert dead(pages, {*pages, "c.png"}) == [("a.html", "#x")]
    assert dead(pages, set(pages)) == [("a.html", "#x"), ("a.html", "c.png")]


def test_what_is_loaded_from_elsewhere_is_found():
    page = Page(
        '<link href="//a/x.css"><script src="https://b/x.js"></script><a href="https://c"></a>'
        '<p style="background: url(https://d/x.png)"></p><img src="data:image/png;base64,">'
    )
    assert {load for load in page.loads if outside(load)} == {
        *("//a/x.css", "https://b/x.js", "https://d/x.png"),
    }
    assert list(filter(outside, addresses("@import 'https://a'; x: url('../b.woff')"))) == [
        "https://a"
    ]


@pytest.fixture(scope="module")
def pages(request):
    """Give the pages by name."""
    if "docs" not in request.config.getoption("--require").split(","):
        pytest.skip("make docs builds the pages and tests them")
    return {path.name: Page(path.read_text(encoding="utf-8")) for path in SITE.glob("*.html")}


def test_no_link_inside_is_dead(pages):
    files = {path.relative_to(SITE).as_posix() for path in SITE.rglob("*") if path.is_file()}
    assert len(pages) > 10
    assert dead(pages, files) == []


def test_nothing_comes_from_elsewhere(pages):
    found = {(name, load) for name, page in pages.items() for load in page.loads if outside(load)}
    assert found == set()
    for sheet in SITE.rglob("*.css"):
        assert not list(filter(outside, addresses(sheet.read_text(encoding="utf-8")))), sheet


def test_the_reference_has_every_public_name(pages):
    anchors = pages["api.html"].anchors
    assert {f"backends.{name}" for name in backends.__all__} <= anchors
    assert "backends.Backend.run" in anchors


def test_the_table_has_every_kernel(pages):
    linked = {link.rpartition("#")[2] for link in pages["kernels.html"].links}
    assert {f"backends.{name}" for name in backends.kernels.every()} <= linked


def test_the_commands_are_there_with_their_options(pages):
    text = "".join(pages["cli.html"].words)
    for name, command in get_command(app).commands.items():
        assert f"backends {name}" in text
        if name != "run":
            options = [o for p in command.get_params(Context(command)) for o in p.opts]
            assert all(option in text for option in options), name


def test_every_page_is_reached_from_the_first(pages):
    listed = {link.partition("#")[0] for link in pages["index.html"].links}
    for source in (ROOT / "docs").glob("*.md"):
        assert source.stem == "index" or f"{source.stem}.html" in listed


@pytest.mark.skipif(browser.found() is None, reason="there is no browser")
@pytest.mark.parametrize("width", [1400, 390])
def test_a_browser_shows_them_without_network(pages, width):
    with browser.Browser(width, 900) as window:
        for name in sorted(pages):
            window.ask("Page.navigate", url=(SITE / name).as_uri())
            end = time.monotonic() + 30
            here = f"location.pathname.endsWith('/{name}') && document.readyState"
            while window.js(here) != "complete":
                assert time.monotonic() < end
                time.sleep(0.02)
            # Wide tables and code scroll by themselves; the page does not.
            assert window.js("document.documentElement.scrollWidth") <= width, name
            assert window.errors == [], name
        assert [asked for asked in window.requests if urlsplit(asked).scheme != "file"] == []
