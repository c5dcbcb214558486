"""``compare``, ``check`` and ``export``: what was measured over commits and machines."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import Annotated

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from backends import files, sources
from backends.bench import fingerprint
from backends.cli.common import INVALID, console, errors, note, progress_bar
from backends.errors import ConfigError, UnknownNameError, suggest
from backends.history import again, asv, compare, export, gate
from backends.history.compare import Compared
from backends.history.data import History, HistoryError, Measurement, gather
from backends.history.gate import Checked
from backends.history.ratios import BASELINE, Ratio
from backends.history.rules import Rule

__all__ = ["check_command", "compare_command", "export_command"]

#: Reasons why something was left out, each with a line of its own.
MOST_PROBLEMS = 5
#: Where half of the rows must be so much slower, relative, the user is told so.
LOUD = 0.2
#: Rows that are gone, each with a line of its own.
MOST_GONE = 10

Results = Annotated[Path, typer.Argument(help="asv's folder of results.")]
MachineOption = Annotated[
    str | None, typer.Option("--machine", "-m", help="Name of a machine, or a part of it.")
]


def compare_command(
    first: Annotated[str, typer.Argument(help="A machine, a commit, or a saved bench file.")],
    second: Annotated[str, typer.Argument(help="What is compared with it: the same.")],
    results: Annotated[Path, typer.Option(help="asv's folder of results.")] = Path("results"),
) -> None:
    """Compare two machines, commits or saved benches, row by row.

    Examples: `backends compare EPYC i7`, `backends compare 1a2b3c4d HEAD`,
    `backends compare before.json after.json`.
    """
    with errors():
        history = cache(partial(asv.read, results, samples_of=[_hash(first), _hash(second)]))
        sides = [compare.side(name, history, _hash) for name in (first, second)]
        found = compare.compare(*sides)
    _note_problems({id(each.history): each.history for each in sides}.values())
    _show_compared(found)


def check_command(
    results: Results = Path("results"),
    *,
    against: Annotated[str, typer.Option(help="The commit that HEAD is compared with.")],
    machine: MachineOption = None,
    in_turns: Annotated[
        bool,
        typer.Option(
            "--again",
            help="Measure what looks slower again, here, both commits in turns (half a minute for "
            "each such row), and go by that.",
        ),
    ] = False,
) -> None:
    """Look for what is slower, takes more memory, lost a speedup or fails: exit status 1 then.

    HEAD is checked if it was measured, else the newest commit that was. What is allowed, and the
    speedups that are asked for, are in backends.toml, `[[check]]`.

    Examples: `backends check results --against main`,
    `backends check results --against main --again`.
    """
    with errors():
        rules = _rules()
        head = _hash("HEAD")
        history = asv.read(results, samples_of=[_hash(against), head])
        old = _commit(history, against)
        # Not the newest, which may be another branch's, if this one's is there.
        new = head if head != old and head in {each.hash for each in history.commits} else None
        where = _here(history, machine) if in_turns else _machine(history, machine)
        how = _measure_again if in_turns else None
        found = gate.check(history, old, commit=new, machine=where, rules=rules, again=how)
    _note_problems([history])
    _show_checked(found)
    if not found.passed:
        raise typer.Exit(INVALID)


def export_command(
    results: Results = Path("results"),
    *,
    form: Annotated[
        str, typer.Option("--format", "-f", help=f"One of {', '.join(export.FORMATS)}.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File; the terminal if none.")
    ] = None,
    machine: MachineOption = None,
    commit: Annotated[str | None, typer.Option(help="The newest if none.")] = None,
) -> None:
    """Give the results of a commit on a machine in a form that other tools read.

    `backends report` writes speedups as CSV, Markdown and JSON.

    Example: `backends export results --format github-action-benchmark -o output.json`.
    """
    with errors():
        if form not in export.FORMATS:
            raise UnknownNameError(suggest(form, export.FORMATS, what="format"))
        history = asv.read(results, samples_of=[] if commit is None else [_hash(commit)])
        chosen = None if commit is None else _commit(history, commit)
        text = export.export(history, form, machine=_machine(history, machine), commit=chosen)
        if output is None:
            typer.echo(text, nl=False)
        else:
            files.write_whole(output, text.encode())
    _note_problems([history])


def _rules() -> list[Rule]:
    """Read ``[[check]]`` of the nearest file with settings.

    Raises
    ------
    ConfigError
        A rule has no meaning.
    """
    source, content = sources.content_of_file()
    try:
        return msgspec.convert(content.get("check", []), list[Rule])
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: [[check]]: {error}") from None


def _machine(history: History, name: str | None) -> str | None:
    if name is None or name in history.machines:
        return name
    found = [each for each in history.machines if name.casefold() in each.casefold()]
    if len(found) != 1:
        raise UnknownNameError(suggest(name, history.machines, what="machine in the results"))
    return found[0]


def _here(history: History, name: str | None) -> str:
    """Give the name of this machine, of which alone something can be measured again."""
    here = fingerprint.fingerprint()["machine"]
    if _machine(history, name or here) != here:
        raise HistoryError(f"--again measures on this machine, {here}: leave --machine {name} out")
    return here


def _measure_again(suspects: Sequence[tuple[Measurement, Measurement, float]]) -> list[Ratio]:
    """Measure rows again, with a bar; nothing is installed where there are none."""
    if not suspects:
        return []
    note(f"{len(suspects)} rows look slower: both commits are installed, and measured in turns")
    suite = again.suite()
    with tempfile.TemporaryDirectory(prefix="backends-") as folder, progress_bar() as bar:
        sides = [Path(folder, each.commit) for each in suspects[0][:2]]
        for side in sides:
            again.install(side.name, side)
        rows = bar.track(suspects, description="in turns")
        return [again.ratio(measured, suite, sides, floor) for measured, _, floor in rows]


def _commit(history: History, name: str) -> str:
    """Give the hash of a commit that was measured."""
    wanted = _hash(name)
    found = [each.hash for each in history.commits if each.hash.startswith(wanted)]
    if len(found) != 1:
        known = ", ".join(each.hash[:8] for each in history.commits[-5:])
        raise HistoryError(
            f"there are no results of {name} ({wanted[:8]}), but of {known}: "
            f"run `asv run {name}^!`, or name one of these"
        )
    return found[0]


def _hash(name: str) -> str:
    """Let git say what "main" or "HEAD" is; what it does not know stays as it is."""
    if Path(name).is_file():
        return name
    try:
        asked = subprocess.run(
            ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:  # There is no git.
        return name
    return asked.stdout.strip() or name


def _note_problems(histories: Iterable[History]) -> None:
    """Name what was left out: the same in many files on one line."""
    problems = gather(problem for history in histories for problem in history.problems)
    for problem in problems[:MOST_PROBLEMS]:
        note(f"left out of {problem.where}: {problem.text}")
    if len(problems) > MOST_PROBLEMS:
        note(f"{len(problems) - MOST_PROBLEMS} more reasons; `backends report` lists all")


def _show_compared(found: Compared) -> None:
    out = console()
    table = _table(f"How many times faster {found.second} is than {found.first}")
    for column in ("kernel", "backend", "dtype", "size", "times", "99% interval", "verdict"):
        table.add_column(column, justify="right" if column in ("size", "times") else "left")
    for _, row, ratio in sorted(found.rows, key=lambda each: (each[0], each[1])):
        _add(table, *row, *_words(ratio), ratio.verdict)
    for backend, ratio in found.backends.items():
        _add(table, "all", backend, "", "", *_words(ratio), ratio.verdict, style="bold")
    out.print(table)
    for one, two in found.where:
        line = f"{one[0]}, {one[1][:8]}, against {two[0]}, {two[1][:8]}"
        out.print(line, markup=False, soft_wrap=True)
    out.print(found.sentence, markup=False, soft_wrap=True)


def _show_checked(found: Checked) -> None:
    out = console()
    what = f"{found.commit[:8]} against {found.against[:8]}"
    if found.passed:
        out.print(f"{what}: nothing slower in {found.compared} rows", markup=False)
    for machine in dict.fromkeys(each.machine for each in found.findings):
        table = _table(f"{what} on {machine}")
        for column in ("kernel", "backend", "dtype", "size", "finding", "times", "99% interval"):
            table.add_column(column, justify="right" if column in ("size", "times") else "left")
        table.add_column("at least", justify="right")
        for each in found.findings:
            if each.machine == machine:
                _add(table, *each.row, each.kind, *_words(each.ratio), f"{each.limit:.2f}")
        out.print(table)
    if found.findings:
        out.print(
            f"{len(found.findings)} findings in {found.compared} rows. Times: the old speed for "
            f'"slower" and "more memory", else {BASELINE}\'s.',
            soft_wrap=True,
        )
    lines = [
        f"{' '.join(filter(None, row))} on {machine}: measured before, and not now"
        for machine, row in found.gone[:MOST_GONE]
    ]
    if len(found.gone) > MOST_GONE:
        lines.append(f"{len(found.gone) - MOST_GONE} more were measured before, and are not now")
    if found.gone:
        lines.append(f"`asv show {found.commit[:8]}` tells which of them failed")
    lines += [
        f"[[check]] {_asked(rule)}: {machine} has no such row" for machine, rule in found.unmet
    ]
    for line in lines:
        out.print(line, markup=False, soft_wrap=True)
    if found.least and median(found.least) > LOUD:
        note(
            f"the two runs differ so much by themselves that most rows had to be "
            f"{median(found.least):.0%} slower to be found: --again measures them in turns"
        )
    for where, drift in found.drift.items():
        note(
            f"{where}: all rows are {abs(drift):.0%} {'slower' if drift > 0 else 'faster'}: the "
            "machine, or what they share; rows are judged beside that"
        )
    if found.left_out:
        note(f"{found.left_out} rows that were measured before were not tried now")
    for rule in found.unmatched:
        note(f"[[check]] {_asked(rule)}: there is no such row in these results")


def _asked(rule: Rule) -> str:
    asked = {key: value for key, value in msgspec.structs.asdict(rule).items() if value is not None}
    return ", ".join(f"{key} = {value}" for key, value in asked.items())


def _add(table: Table, *cells: str, style: str | None = None) -> None:
    # As text: what a file says must not be taken for rich's markup.
    table.add_row(*map(Text, cells), style=style)


def _table(title: str) -> Table:
    return Table(
        box=None, padding=(0, 2, 0, 0), pad_edge=False, title=Text(title), title_justify="left"
    )


def _words(ratio: Ratio) -> tuple[str, str]:
    return f"{ratio.value:.2f}", f"{ratio.low:.2f} to {ratio.high:.2f}"
