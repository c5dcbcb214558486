"""Which backend to choose: the fastest of each row, in words, and as a file."""

from __future__ import annotations

from collections import Counter
from statistics import geometric_mean

from rich.console import RenderableType
from rich.text import Text

from backends.bench.record import BASELINE, Record, Result, Row

__all__ = ["best", "label", "peers", "verdict"]


def best(row: Row) -> Result | None:
    """Give the fastest result of a row that is really faster than the baseline, if any.

    Only plain calls count: most callers have not placed their inputs beforehand, and what `out`
    and cold caches change is another question.
    """
    faster = [r for r in row.results if r.verdict == "faster" and r.way == "call"]
    return max(faster, key=lambda r: r.speedup or 0.0, default=None)


def peers(row: Row) -> list[Result]:
    """Give the results that are as fast as the best one within the intervals, itself too."""
    fastest = best(row)
    if fastest is None or fastest.low is None:
        return []
    return [
        r
        for r in row.results
        if r is fastest
        or (r.verdict == "faster" and r.way == "call" and (r.high or 0.0) >= fastest.low)
    ]


def label(row: Row) -> str:
    """Name a row in a sentence."""
    return row.kernel if row.case in ("elements", "matrix") else f"{row.kernel} ({row.case})"


def verdict(record: Record) -> list[RenderableType]:
    """Say in words what to choose, and give the file that chooses it."""
    if not record.rows:
        return [Text("Nothing was measured.")]
    gains: dict[str, list[float]] = {}
    equals: dict[str, list[list[str]]] = {}
    stay, alone = [], []
    for row in record.rows:
        fastest = best(row)
        if fastest is not None:
            gains.setdefault(fastest.backend, []).append(fastest.speedup or 1.0)
            others = [r.backend for r in peers(row) if r is not fastest]
            equals.setdefault(fastest.backend, []).append(others)
        elif any(r.status == "ok" and r.backend != BASELINE for r in row.results):
            stay.append(label(row))
        else:
            alone.append(label(row))
    rows = len(record.rows)
    sentences = [
        (
            f"{name} is the fastest in {len(factors)} of {rows} rows, "
            f"{geometric_mean(factors):.2f} times {BASELINE} on average ({min(factors):.2f} to "
            f"{max(factors):.2f})"
            if len(factors) > 1
            else f"{name} is the fastest in {'1 of ' if rows > 1 else ''}{rows} "
            f"row{'s' if rows > 1 else ''}, {factors[0]:.2f} times {BASELINE}"
        )
        + _as_fast(equals[name])
        + "."
        for name, factors in sorted(gains.items(), key=lambda item: -len(item[1]))
    ]
    if stay:
        listed = ", ".join(dict.fromkeys(stay))
        sentences.append(f"Nothing beats {BASELINE} beyond noise for {listed}.")
    if alone:
        listed = ", ".join(dict.fromkeys(alone))
        sentences.append(f"No backend but {BASELINE} was timed for {listed}.")
    paragraph = Text(f"On this machine (n_jobs={record.n_jobs}): " + " ".join(sentences))
    lines = _toml(record)
    if not lines:
        return [paragraph]
    return [
        paragraph,
        Text("\nTo choose so, put this into backends.toml in the folder you start from:\n"),
        Text("\n".join(f"    {line}".rstrip() for line in lines), style="cyan"),
    ]


def _as_fast(others: list[list[str]]) -> str:
    """Say which backends cannot be told from the fastest one, and in how many of its rows."""
    found = [names for names in others if names]
    if not found:
        return ""
    names = list(dict.fromkeys(name for names in found for name in names))
    listed = " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    where = "" if len(others) == 1 else f" in {len(found)} of them"
    return f"; within the intervals {listed} is as fast{where}"


def _toml(record: Record) -> list[str]:
    winners = {
        kernel: _choice([row for row in record.rows if row.kernel == kernel])
        for kernel in dict.fromkeys(row.kernel for row in record.rows)
    }
    if set(winners.values()) == {BASELINE}:
        return []
    # The general choice is for every kernel, also those that were not measured here.
    everywhere = (*record.universal, BASELINE)
    general = Counter(w for w in winners.values() if w in everywhere).most_common(1)
    backend, mode = _name_and_mode(general[0][0] if general else BASELINE)
    lines = [f'backend = "{backend}"', f"n_jobs = {record.n_jobs}"]
    named = {kernel: _name_and_mode(winner) for kernel, winner in winners.items()}
    mode = mode or next((mode for _, mode in named.values() if mode), "")
    if mode:
        lines.append(f'mode = "{mode}"  # within some ULP; "exact" keeps every bit')
    others = {kernel: name for kernel, (name, _) in named.items() if name != backend}
    if others:
        lines += ["", "[kernels]", *(f'{kernel} = "{name}"' for kernel, name in others.items())]
    return lines


def _name_and_mode(label: str) -> tuple[str, str]:
    """Take "openmp (fast)" apart; the mode of most backends is empty."""
    name, _, mode = label.removesuffix(")").partition(" (")
    return name, mode


def _choice(rows: list[Row]) -> str:
    """Choose for a kernel the backend that is fastest over all its rows, if any is faster."""
    scores = {BASELINE: 1.0}
    for name in {fastest.backend for row in rows if (fastest := best(row)) is not None}:
        speedups = [
            r.speedup or 1.0
            for row in rows
            for r in row.results
            if r.backend == name and r.way == "call"
        ]
        scores[name] = geometric_mean(speedups)
    return max(scores, key=lambda name: scores[name])
