"""What docs/made.py makes of the package for the pages; it needs nothing of Sphinx."""

import re
import sys
from pathlib import Path

import backends
from backends import kernels

sys.path.insert(0, str(Path(__file__).parent.parent / "docs"))
import made

DOCS = Path(made.__file__).parent


def test_pages_ask_for_parts_that_there_are():
    texts = [page.read_text(encoding="utf-8") for page in DOCS.glob("*.md")]
    asked = {name for text in texts for name in made.PLACE.findall(text)}
    assert asked == set(made.PARTS)
    assert made.with_parts("a\n<!-- made.py: commands -->\nb").startswith("a\n## backends list\n")


def test_a_new_kernel_is_in_the_table_and_in_the_reference():
    @backends.elementwise(domain=(0.0, 1.0), flops=7, tolerance=3.0, family="inventions")
    def twice_the_sine(x, /, *, out=None):
        """Twice the sine."""

    assert "autofunction:: backends.twice_the_sine\n" in made.kernel_reference()
    tables = made.kernel_tables()
    assert "## Inventions" in tables
    assert "`twice_the_sine <" in tables


def test_the_reference_has_every_public_name():
    text = made.reference() + made.kernel_reference()
    found = re.findall(r"auto\w+:: backends\.(\w+)$", text, re.M)
    assert sorted(found) == sorted(backends.__all__)


def test_the_table_says_what_a_kernel_costs_and_who_has_it():
    lines = {
        line.split("`")[1].split()[0]: line
        for line in made.kernel_tables().splitlines()
        if "{" in line
    }
    assert set(lines) == set(kernels.every())
    assert [cell.strip() for cell in lines["gamma"].split("|")[3:]] == [
        *("50", "16", "256", "4", "jax numba mkl", ""),
    ]
    assert " 2,000,000 " in lines["matmul"]
