"""One side of a comparison in turns: times a benchmark of asv's suite whenever it is told to.

Run as a script, by its path, so that `backends` is the commit's that PYTHONPATH names:
``python -P side.py SUITE BENCHMARK PARAMETERS``, the parameters as a JSON list of texts. It answers
each line of stdin with one of stdout, the seconds; the first, before any, says that it is ready.
"""

from __future__ import annotations

import json
import os
import sys
from itertools import product
from typing import Any

__all__: list[str] = []


def main(suite: str, name: str, texts: str) -> None:  # uncounted: worker
    """Read turns from stdin until it is closed."""
    from asv_runner.discovery import get_benchmark_from_name

    # What a benchmark prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    benchmark: Any = get_benchmark_from_name(suite, name)
    wanted = json.loads(texts)
    found = [[text.strip("'\"") for text in texts] for texts in product(*benchmark.params)]
    if wanted not in found:
        raise SystemExit(f"{name} has no {', '.join(wanted)}: measured with another profile")
    if benchmark.params:
        benchmark.set_param_idx(found.index(wanted))
    if benchmark.do_setup():
        raise SystemExit(f"{name} with {', '.join(wanted)} is skipped")
    try:
        print(0.0, file=answers, flush=True)
        for _ in sys.stdin:
            print(_seconds(benchmark.do_run()), file=answers, flush=True)
    finally:
        benchmark.do_teardown()


def _seconds(result: Any) -> float:  # uncounted: worker
    # Of a second's samples most may be disturbed on a shared machine: the fastest tells most.
    return min(result["samples"]) if isinstance(result, dict) else float(result)


if __name__ == "__main__":  # uncounted: worker
    main(*sys.argv[1:])
