"""The figures, described once: the page draws them in the browser, files have them as SVG and PNG.

A description has no data in it. All rows of a figure are one named table, in which the column
`kind` tells its layers apart, so that the same description draws one kernel or one panel for each.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

from backends.history.data import HistoryError

__all__ = [
    "DATA",
    "FACTORS",
    "PALETTES",
    "REMEDY",
    "SHADES",
    "describe",
    "theme",
    "vega_lite_version",
]

REMEDY = "the report needs Altair and vl-convert: pip install 'array-backends[report]'"
#: The named table of each description.
DATA = "rows"
#: Colours that part from one another, in print and to eyes that see no red or green, and have
#: contrast 3 to 1 at least with either background (after Okabe and Ito). Shapes part them too.
COLOURS = (
    *("#767676", "#d55e00", "#2f7fd0", "#0c8f68", "#b8479a", "#a37500"),
    *("#7a6bd6", "#2593a8", "#c6473f", "#5b8c1a", "#8d6b52"),
)
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
SLOWER, FASTER = "#d03b3b", "#1c8a4f"
#: Colours of a page's parts, which the figures have too.
PALETTES = {
    "light": {
        "background": "#ffffff",
        "text": "#1b1f24",
        "grid": "#d9dde2",
        "faint": "#57606a",
        "accent": "#0b63b5",
    },
    "dark": {
        "background": "#14171b",
        "text": "#e8eaed",
        "grid": "#363c44",
        "faint": "#a3adb8",
        "accent": "#6cb2f5",
    },
}
HEIGHT = 320
#: Columns that are numbers, and those of them that come with k, M, G.
RATES = {"rate"}
NUMBERS = {*RATES, "speedup", "low", "high", "seconds", "value", "ratio", "intensity"}
#: Factors at which the matrix changes its colour, and the colours, from "none is faster" on.
FACTORS = (1.001, 1.5, 3.0, 8.0)
SHADES = {
    "light": ("#eceff2", "#d9eaf8", "#b3d5f1", "#84b9e6", "#5a9fd9"),
    "dark": ("#23282e", "#17324a", "#1a4468", "#1d5686", "#2269a3"),
}


def describe(labels: Sequence[str], width: int | str = "container") -> dict[str, dict[str, Any]]:
    """Describe each figure in Vega-Lite, without its rows.

    Parameters
    ----------
    labels : sequence of str
        The backends, the baseline first, and whatever else has a line: each keeps its colour.
    width : int or str
        Pixels; "container" is as wide as there is room.

    Raises
    ------
    HistoryError
        Altair is not installed; the message has the command.
    """
    try:
        import altair
    except ImportError as error:
        raise HistoryError(REMEDY) from error
    alt: Any = altair  # Some of it has no types.
    rows = alt.Chart(alt.Data(name=DATA))
    colour, shape = _scales(alt, labels)
    size = {"width": width, "height": HEIGHT}
    # What a drawing fills in: the labels that have a line in it, the commits by number, the unit.
    shown = alt.param(name="shown", value=list(labels))
    numbered = [alt.param(name="commits", value=[]), alt.param(name="unit", value="s")]
    charts = {
        "matrix": _matrix(alt, rows),
        "speedup": _speedup(alt, rows, colour, shape).properties(**size).add_params(shown),
        "history": _history(alt, rows, colour, shape)
        .properties(**size)
        .add_params(shown, *numbered),
        "roofline": _roofline(alt, rows, colour, shape).properties(**size).add_params(shown),
    }
    return {name: chart.to_dict() for name, chart in charts.items()}


def theme(name: str) -> dict[str, Any]:
    """Give Vega's configuration for "light" or "dark"."""
    colours = PALETTES[name]
    text = {"labelColor": colours["text"], "titleColor": colours["text"]}
    return {
        "background": None,
        "font": "system-ui, sans-serif",
        "view": {"stroke": None},
        "title": {"color": colours["text"], "anchor": "start", "fontWeight": 600},
        "axis": {
            **text,
            "gridColor": colours["grid"],
            "domainColor": colours["faint"],
            "tickColor": colours["faint"],
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
        },
        "legend": {**text, "orient": "bottom", "columns": 4, "labelFontSize": 12, "title": None},
        "header": {**text, "labelFontSize": 13, "labelFontWeight": 600},
        "text": {"color": colours["text"]},
        "rule": {"color": colours["faint"]},
    }


def _scales(alt: Any, labels: Sequence[str]) -> tuple[Any, Any]:
    """Give the colours and shapes of the labels; they start again where there are too many."""
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(labels))]
    shapes = [SHAPES[i % len(SHAPES)] for i in range(len(labels))]
    shown = alt.Legend(values=alt.ExprRef("shown"))
    return (
        alt.Color("label:N", scale=alt.Scale(domain=list(labels), range=colours), legend=shown),
        alt.Shape("label:N", scale=alt.Scale(domain=list(labels), range=shapes), legend=shown),
    )


def _kind(rows: Any, kind: str) -> Any:
    return rows.transform_filter(f"datum.kind == '{kind}'")


def _matrix(alt: Any, rows: Any) -> Any:
    """Write the winner and its factor for machines beside each other, kernels below."""
    shades = alt.Scale(type="threshold", domain=list(FACTORS), range=list(SHADES["light"]))
    cells = rows.transform_calculate(
        label="datum.backend + (datum.speedup > 1 ? format(datum.speedup, ' .3~g') + 'x' : '')"
    ).encode(
        x=alt.X("machine:N", axis=alt.Axis(orient="top", title=None, labelAngle=0, labelLimit=170)),
        y=alt.Y("kernel:N", axis=alt.Axis(title=None), sort=None),
    )
    boxes = cells.mark_rect(stroke=PALETTES["light"]["background"], strokeWidth=2).encode(
        color=alt.Color("speedup:Q", scale=shades, legend=None)
    )
    words = cells.mark_text().encode(text="label:N")
    return (boxes + words).properties(width=alt.Step(170), height=alt.Step(20))


def _speedup(alt: Any, rows: Any, colour: Any, shape: Any) -> Any:
    """Draw speedup against size, with intervals and marks where the fastest changes."""
    sizes = alt.Axis(title="size", format="~s", grid=False)
    times = alt.Axis(title="times numpy's speed", labelExpr="format(datum.value, '~g') + 'x'")
    doubled = alt.Scale(type="log", base=2, nice=False, padding=16)
    found = _kind(rows, "speedup").encode(
        x=alt.X("size:Q", scale=alt.Scale(type="log", nice=False, padding=10), axis=sizes),
        y=alt.Y("speedup:Q", scale=doubled, axis=times),
        color=colour,
        tooltip=_tooltip(alt, "label", "size", "speedup", "low", "high", "verdict", "seconds"),
    )
    crossed = _kind(rows, "crossover").encode(
        x="size:Q", tooltip=_tooltip(alt, "below", "above", "size", "last", "first")
    )
    return alt.layer(
        found.mark_rule().encode(y="low:Q", y2="high:Q"),
        found.mark_line(),
        found.mark_point(filled=True, size=60, opacity=1).encode(shape=shape),
        crossed.mark_rule(strokeDash=[2, 3], size=1.5),
        crossed.mark_text(align="left", baseline="top", dx=4).encode(
            y=alt.value(2), text="words:N"
        ),
    )


def _history(alt: Any, rows: Any, colour: Any, shape: Any) -> Any:
    """Draw a value over commits, with what is known of intervals; a mark where it changed."""
    # Commits stand at equal distances: by date, those of one day would be one line.
    hashes = alt.Axis(
        title="commit",
        labelExpr="slice(commits[datum.value] || '', 0, 7)",
        tickMinStep=1,
        labelAngle=-45,
        grid=False,
    )
    units = alt.Axis(title=None, labelExpr="format(datum.value, '~s') + unit", tickCount=6)
    logs = alt.Scale(type="log", nice=False, padding=16)
    values = _kind(rows, "time").encode(
        x=alt.X("at:Q", axis=hashes, scale=alt.Scale(nice=False, padding=8)),
        y=alt.Y("value:Q", axis=units, scale=logs),
        color=colour,
        tooltip=_tooltip(alt, "label", "value", "commit", "date"),
    )
    ranged = values.transform_filter("isValid(datum.low)").encode(
        y=alt.Y("low:Q", axis=units, scale=logs), y2="high:Q"
    )
    worse = alt.datum.ratio > 1
    changed = _kind(rows, "change").encode(
        x="at:Q",
        y="value:Q",
        shape=alt.condition(worse, alt.value("triangle-up"), alt.value("triangle-down")),
        fill=alt.condition(worse, alt.value(SLOWER), alt.value(FASTER)),
        tooltip=_tooltip(alt, "label", "ratio", "commit", "date"),
    )
    return alt.layer(
        ranged.mark_rule(opacity=0.5),
        values.mark_line(strokeWidth=1.5),
        values.mark_point(filled=True, size=14, opacity=1),
        changed.mark_point(size=170, opacity=1, stroke="#ffffff", strokeWidth=1.5),
    )


def _roofline(alt: Any, rows: Any, colour: Any, shape: Any) -> Any:
    """Draw operations a second against operations a byte, under what the machine can do."""
    log = alt.Scale(type="log", nice=False, padding=12)
    axes = {
        "x": alt.X("intensity:Q", scale=log, axis=alt.Axis(title="operations a byte")),
        "y": alt.Y("rate:Q", scale=log, axis=alt.Axis(title="operations a second", format="~s")),
    }
    roofs = _kind(rows, "roof").encode(**axes, detail="name:N")
    names = roofs.transform_filter("datum.named")
    found = _kind(rows, "point").encode(
        **axes,
        color=colour,
        shape=shape,
        tooltip=_tooltip(alt, "label", "kernel", "dtype", "size", "intensity", "rate"),
    )
    return alt.layer(
        roofs.mark_line(strokeWidth=1.5, color="#8a939d"),
        names.mark_text(align="left", dx=10, dy=9).encode(text="name:N"),
        found.mark_point(filled=True, size=60, opacity=0.85),
    )


def _tooltip(alt: Any, *fields: str) -> list[Any]:
    return [
        alt.Tooltip(f"{name}:Q", format=".4~s" if name in RATES else ".4~g")
        if name in NUMBERS
        else alt.Tooltip(f"{name}:N")
        for name in fields
    ]


def vega_lite_version() -> str:
    """Give the version of Vega-Lite that descriptions are in: "6.4", say.

    Raises
    ------
    HistoryError
        Altair or vl-convert is not installed; the message has the command.
    """
    try:
        import altair as alt
    except ImportError as error:
        raise HistoryError(REMEDY) from error
    if importlib.util.find_spec("vl_convert") is None:
        raise HistoryError(REMEDY)
    return ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
