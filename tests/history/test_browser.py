"""The browser, in which test_report_browser.py looks at the page, is there if it must be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import browser


def test_is_there(request):
    reason = f"there is no browser: none of {', '.join(browser.NAMES)}"
    if browser.found() is None and "browser" in request.config.getoption("--require").split(","):
        pytest.fail(reason)
    if browser.found() is None:
        pytest.skip(reason)
