"""A plugin of pytest: enters a side before any test is collected, and logs each test's outcome.

``CONFORMANCE_SIDE`` and ``CONFORMANCE_LOG`` tell it which side and where. Tests that the log has
already are not run again, and with ``CONFORMANCE_ONLY`` (a file of ids) no others than those.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import sides

SIDE = os.environ["CONFORMANCE_SIDE"]
LOG = Path(os.environ["CONFORMANCE_LOG"])
ONLY = os.environ.get("CONFORMANCE_ONLY")

sides.enter(SIDE)
log = sides.Log(LOG)
reports = {}
started = 0.0


def pytest_collection_modifyitems(items):
    done = {record["test"] for record in sides.records(LOG) if "outcome" in record}
    only = set(Path(ONLY).read_text(encoding="utf-8").splitlines()) if ONLY else None
    items[:] = [
        item for item in items if item.nodeid not in done and (only is None or item.nodeid in only)
    ]
    log.write(collected=len(items) + len(done))


def pytest_collectreport(report):
    if report.outcome != "passed":
        log.write(test=report.nodeid, outcome=f"collection {report.outcome}", text=_last(report))


def pytest_runtest_logstart(nodeid):
    global started
    started = time.monotonic()
    reports[nodeid] = []
    log.write(test=nodeid)


def pytest_runtest_logreport(report):
    reports[report.nodeid].append(report)


def pytest_runtest_logfinish(nodeid):
    outcome, text = "passed", ""
    for report in reports.pop(nodeid):
        if hasattr(report, "wasxfail"):
            outcome = "xfailed" if report.skipped else "xpassed"
        elif report.failed:
            outcome = "failed" if report.when == "call" else f"error in {report.when}"
            text = _last(report)
        elif report.skipped:
            outcome = "skipped"
    log.write(test=nodeid, outcome=outcome, text=text, seconds=time.monotonic() - started)


def pytest_sessionfinish(exitstatus):
    log.write(end=int(exitstatus), parallel=sides.parallel() if SIDE == "installed" else {})


def _last(report):
    """Give the end of a failure's message, which is the error itself."""
    return "\n".join(report.longreprtext.splitlines()[-12:])
