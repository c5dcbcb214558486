"""How Sphinx makes the pages; `make docs` runs it."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # made.py, formulas.py

project = "array-backends"
author = "The array-backends developers"
copyright = author  # noqa: A001 - Sphinx's name
release = version = installed_version("array-backends")

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc", "formulas", "made"]
exclude_patterns = ["figures"]

# All of what is inside must be there: `make docs` makes errors of warnings.
nitpicky = True
# Types are in the docstrings.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

# No script, font or picture of a page is elsewhere: see formulas.py, and tests/test_site.py.
html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = project
html_copy_source = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["pages.css"]
templates_path = ["_templates"]
html_sidebars = {"**": ["every-page.html"]}
html_context = {"default_mode": "auto"}
html_theme_options = {
    "navbar_center": [],
    "navbar_end": ["theme-switcher"],
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}
