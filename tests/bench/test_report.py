from __future__ import annotations

import io
import re
import textwrap
import tomllib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from rich.console import Console

from backends import config, kernels, registry, sources
from backends.bench import costs, report, verdict
from backends.bench.record import (
    SCHEMA,
    Ceilings,
    Conditions,
    Level,
    Rates,
    Record,
    Result,
    Row,
)
from backends.machine import Machine

MACHINE = Machine(
    cpu="Intel(R) Xeon(R) Platinum 8488C CPU @ 2.40GHz",
    cores=16,
    memory=2**36,
    system="Linux",
    architecture="x86_64",
    blas="openblas 0.3.31.188.0 SkylakeX pthreads",
    gpu="",
    python="3.13.1",
    numpy="2.4.6",
    scipy="1.17.1",
    array_backends="0.1.0",
)
QUIET = Conditions(cores=16, others=0.021, steal=0.0, drift=-0.013, variables={})
CEILINGS = Ceilings(
    n_jobs=16,
    triad=["threads", "openmp"],
    levels=[
        Level("L2", 2**25, Rates(72.4e9, 1.1e12)),
        Level("L3", 2**27, Rates(40.5e9, 4.2e11)),
        Level("memory", None, Rates(9.94e9, 1.234e11)),
    ],
    gemm={"float32": Rates(1.2e11, 1.9e12), "float64": Rates(6.1e10, 9.7e11)},
)


def numpy(median=0.0136) -> Result:
    return Result(
        "numpy",
        "ok",
        seconds=[median],
        median=median,
        speedup=1.0,
        low=1.0,
        high=1.0,
        flops_per_second=1.5e9,
        bytes_per_second=1.2e9,
    )


def timed(backend, speedup, verdict=None, *, half=0.02, way="call") -> Result:
    """Give a result like those of the bench; the verdict follows where none is given."""
    if verdict is None:
        verdict = "faster" if speedup > 1.03 else "slower" if speedup < 0.97 else "same"
    return msgspec.structs.replace(
        numpy(0.0136 / speedup),
        backend=backend,
        way=way,
        speedup=speedup,
        low=speedup - half,
        high=speedup + half,
        verdict=verdict,
        flops_per_second=1.5e9 * speedup,
        bytes_per_second=1.2e9 * speedup,
    )


def row(kernel, *results, case=None, size=None, dtype="float64", base=None) -> Row:
    found = kernels.find(kernel)
    case = case or next(iter(found.cases))
    size = size or (4_000_000 if case == "elements" else found.size)
    shape = {"elements": f"{size}", "matrix": f"{size}x{size}", "stack": f"{size**2 // 64}x8x8"}
    return Row(kernel, found.family, case, size, shape[case], dtype, [base or numpy(), *results])


def record(*rows, **changes) -> Record:
    whole = Record(
        schema=SCHEMA,
        created="2026-01-02T03:04:05+00:00",
        n_jobs=16,
        seconds=60.0,
        universal=["threads", "joblib"],
        imports={},
        complete=True,
        machine=MACHINE,
        conditions=QUIET,
        ceilings=CEILINGS,
        rows=list(rows),
    )
    return msgspec.structs.replace(whole, **changes)


def shown(whole, width=80, *, device_only=False) -> str:
    """Give what is printed where nothing is known of a terminal."""
    file = io.StringIO()
    console = Console(file=file, width=width, color_system=None, highlight=False)
    report.show(whole, console, device_only=device_only)
    return file.getvalue()


def line_of(text, start) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith(start)]
    return line


def in_words(text) -> str:
    """Undo the wrapping."""
    return " ".join(text.split())


def snippet(text) -> str:
    return textwrap.dedent(text[text.index("backends.toml") :].split("\n", 1)[1])


REFUSED = Result("openmp", "refused", reason="openmp has the linear algebra only")
TYPICAL = record(
    row("matmul", timed("threads", 1.71), timed("joblib", 0.86), timed("openmp", 1.92)),
    row(
        "matmul",
        timed("threads", 3.02),
        timed("joblib", 1.4),
        timed("openmp", 1.0),
        case="stack",
    ),
    row("cholesky", timed("threads", 1.0), Result("joblib", "one piece"), timed("openmp", 1.7)),
    row("add", timed("threads", 1.01), timed("joblib", 0.41), REFUSED),
    row("sin", timed("threads", 1.93), timed("joblib", 1.44), REFUSED),
    row("gammaln", timed("threads", 1.95), timed("joblib", 1.52), REFUSED),
    row("j0", timed("threads", 1.96), timed("joblib", 1.98), REFUSED),
)


def test_every_line_fits_the_width_and_nothing_is_cut_off():
    for width in (80, 100, 200):
        text = shown(TYPICAL, width)
        assert max(map(len, text.splitlines())) <= width
        assert "\u2026" not in text


def test_a_narrow_terminal_gets_narrow_lines():
    assert max(map(len, shown(TYPICAL, 40).splitlines())) <= 40


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("count", [1, 3, 6])
def test_every_speedup_can_be_read_whatever_the_number_of_backends(count, width):
    names = ["threads", "joblib", "openmp", "cupy", "numexpr", "torch"][:count]
    speedups = [1.11, 2.22, 3.33, 4.44, 5.55, 16.66][:count]
    results = list(map(timed, names, speedups))
    text = shown(record(row("cholesky", *results), row("svd", *results)), width)
    tables = text[: text.index("note:")]
    for name, speedup in zip(names, speedups, strict=True):
        assert name in tables
        assert tables.count(f"{speedup:.2f}") == 2
    assert "\u2026" not in text
    assert max(map(len, text.splitlines())) <= width


def test_four_backends_are_split_over_tables_of_eighty_columns():
    names = ("threads", "joblib", "openmp", "torch")
    whole = record(row("cholesky", *(timed(n, 1.71 + i) for i, n in enumerate(names))))
    text = shown(whole)
    tables = text[: text.index("note:")]
    for speedup in (1.71, 2.71, 3.71, 4.71):
        assert f"{speedup:.2f}" in tables
    assert max(map(len, text.splitlines())) <= 80
    assert "\u2026" not in text


def test_the_machine_comes_first():
    words = in_words(shown(TYPICAL))
    assert words.startswith("Intel(R) Xeon(R) Platinum 8488C CPU @ 2.40GHz, 16 cores")
    for fact in ("64 GiB", "openblas 0.3.31.188.0", "NumPy 2.4.6", "SciPy 1.17.1", "Python 3.13.1"):
        assert fact in words


def test_each_family_and_dtype_has_a_table_of_its_own():
    whole = record(
        row("sin", timed("threads", 2.0)),
        row("matmul", timed("threads", 2.0)),
        row("sin", timed("threads", 2.0), dtype="float32"),
        row("j0", timed("threads", 2.0)),
    )
    titles = re.findall(r"^(\w[\w ]*, (?:float|complex)\d+)", shown(whole), re.MULTILINE)
    assert titles == [
        "Elementwise, float32",
        "Elementwise, float64",
        "Linear algebra, float64",
        "Special functions, float64",
    ]


def test_the_title_of_a_table_is_one_line():
    title = line_of(shown(TYPICAL), "Elementwise")
    assert title.strip() == "Elementwise, float64, 4,000,000 elements: times the speed of numpy"


def test_rows_of_other_sizes_are_told_apart():
    whole = record(
        row("sin", timed("threads", 1.1), size=1000), row("sin", timed("threads", 1.9), size=2000)
    )
    text = shown(whole)
    assert "1.10" in line_of(text, "sin 1000")
    assert "1.90" in line_of(text, "sin 2000")


def test_matrices_show_their_shape():
    text = shown(TYPICAL)
    assert "1.92" in line_of(text, "matmul 1000x1000")
    assert "3.02" in line_of(text, "matmul 15625x8x8")


def test_the_fastest_of_each_row_is_marked_and_no_other():
    text = shown(TYPICAL)
    for start, best in [
        ("matmul 1000x1000", "1.92 \u00b10.02*"),
        ("matmul 15625x8x8", "3.02 \u00b10.02*"),
        ("add", "13.6 ms*"),
        ("sin", "1.93 \u00b10.02*"),
    ]:
        assert best in line_of(text, start)
        assert line_of(text, start).count("*") == 1


def test_what_is_only_perhaps_faster_does_not_win():
    text = shown(record(row("sin", timed("threads", 1.4, "unclear", half=0.5))))
    assert "13.6 ms*" in line_of(text, "sin")
    assert "1.40 \u00b10.50 " in line_of(text, "sin")
    assert "Nothing beats numpy beyond noise for sin" in in_words(text)


MOVING = row(
    "sin",
    timed("threads", 1.5),
    structs.replace(timed("cupy", 1.2), first=2.5, transfer_in=0.011, transfer_out=0.012),
    timed("cupy", 9.9, way="resident"),
)


def test_a_call_is_shown_with_what_it_moves_and_compute_alone_on_request():
    call, compute = shown(record(MOVING)), shown(record(MOVING), device_only=True)
    assert "1.20 \u00b10.02" in line_of(call, "sin")
    assert "9.90" not in line_of(call, "sin")
    assert "resident" not in call
    assert "9.90 \u00b10.02" in line_of(compute, "sin")
    assert "1.20" not in line_of(compute, "sin")
    assert "resident" in compute


def test_compute_alone_is_never_the_choice():
    for device_only in (False, True):
        text = shown(record(MOVING), device_only=device_only)
        assert "1.50 \u00b10.02*" in line_of(text, "sin")
        assert 'backend = "threads"' in snippet(text)


def test_what_a_call_is_made_of_is_told_for_each_backend():
    text = shown(record(MOVING, imports={"cupy": 0.75}))
    line = line_of(text, "cupy")
    compute = next(r.median for r in MOVING.results if r.way == "resident")
    for part in ("750 ms", "2.5 s", "11 ms", "12 ms", costs.duration([compute])):
        assert part in line


def test_errors_stand_under_the_speeds_in_the_same_order():
    results = [
        structs.replace(timed("threads", 1.5), error=0.5),
        structs.replace(timed("mkl", 5.0), error=1234.0),
    ]
    text = shown(record(row("sin", *results)))
    lines = text.splitlines()
    (at,) = [i for i, line in enumerate(lines) if line.startswith("largest error, ULP")]
    assert lines[at].split()[-2:] == ["threads", "mkl"]
    assert lines[at + 1].split() == ["sin", "0.50", "1e+03"]


@pytest.mark.parametrize("status", ["invalid", "failed"])
def test_a_wrong_or_missing_result_has_no_number_and_is_explained(status):
    bad = Result("threads", status, reason="differs from [bold]all[/bold] that is right")
    text = shown(record(row("sin", bad, timed("joblib", 1.5)), row("cos", timed("threads", 1.9))))
    assert status.upper() in line_of(text, "sin")
    assert "1.50 \u00b10.02*" in line_of(text, "sin")
    words = in_words(text)
    assert f"{status.upper()}: threads sin" in words
    assert "differs from [bold]all[/bold] that is right" in words


def test_an_invalid_baseline_is_said_to_be_so():
    bad = Result("numpy", "invalid", reason="differs from call to call")
    text = shown(record(row("sin", Result("threads", "ok", seconds=[1.0], median=1.0), base=bad)))
    assert "INVALID" in line_of(text, "sin")
    assert "0.00" not in line_of(text, "sin")
    assert "*" not in line_of(text, "sin")


def test_a_backend_that_lacks_a_whole_family_has_no_column_there_but_a_reason():
    text = shown(TYPICAL)
    tables = text.split("\n\n")
    (elementwise,) = [table for table in tables if table.startswith("Elementwise")]
    assert "openmp" not in elementwise
    assert "openmp has the linear algebra only" in in_words(text)


def test_what_was_not_timed_is_a_dash_with_a_reason():
    lone = Result("joblib", "one piece", reason="too little work for two jobs")
    text = shown(record(row("sin", timed("threads", 2.0), lone), row("cos", timed("joblib", 2.0))))
    assert re.search(r"2\.00 \S+ +- ", line_of(text, "sin"))
    assert "joblib, sin: too little work for two jobs" in in_words(text)


def test_a_reason_shared_by_many_kernels_is_said_once():
    lone = Result("joblib", "one piece", reason="too little work for two jobs")
    names = [name for name in kernels.every() if kernels.find(name).family == "elementwise"]
    text = shown(record(*[row(name, lone) for name in names]))
    assert in_words(text).count("too little work") == 1
    assert f"{len(names)} kernels" in text


def test_what_was_skipped_is_said():
    text = shown(msgspec.structs.replace(TYPICAL, skipped=["hypot has no complex128"]))
    assert "hypot has no complex128" in text


def test_an_interrupted_bench_says_so_and_a_complete_one_does_not():
    assert "Interrupted" in shown(msgspec.structs.replace(TYPICAL, complete=False))
    assert "Interrupted" not in shown(TYPICAL)


@pytest.mark.parametrize("complete", [True, False])
def test_a_bench_without_rows_says_that_nothing_was_measured(complete):
    text = shown(record(complete=complete))
    assert "Nothing was measured" in text
    assert "backends.toml" not in text


def test_rates_are_of_the_fastest_in_the_unit_of_the_family():
    text = shown(TYPICAL)
    assert "GFLOP/s" in text.split("Elementwise")[0]
    assert line_of(text, "matmul 1000x1000").split()[-2] == "2.88"
    assert "GB/s" in text.split("Elementwise")[1]
    assert line_of(text, "sin").split()[-2] == "2.32"
    assert line_of(text, "add").split()[-2] == "1.2"


@pytest.mark.parametrize(
    ("median", "time"),
    [
        (12.0, "12 s"),
        (1.0, "1 s"),
        (0.0136, "13.6 ms"),
        (9.784e-6, "9.78 us"),
        (3.21e-7, "321 ns"),
    ],
)
def test_times_have_three_digits_and_a_unit_that_suits(median, time):
    assert f" {time}*" in line_of(shown(record(row("sin", base=numpy(median)))), "sin")


@pytest.mark.parametrize("median", [1234.0, 0.9996, 999.6e-6, 999.6e-9])
def test_times_are_never_in_powers_of_ten(median):
    assert "e+" not in line_of(shown(record(row("sin", base=numpy(median)))), "sin")


def test_rates_of_large_machines_are_not_in_powers_of_ten():
    fast = msgspec.structs.replace(timed("openmp", 2.0), flops_per_second=1.234e12)
    assert line_of(shown(record(row("matmul", fast))), "matmul").split()[-2] in ("1234", "1,234")


def test_the_verdict_names_winners_with_how_often_and_how_much():
    words = in_words(shown(TYPICAL))
    assert "(n_jobs=16)" in words
    assert "threads is the fastest in 3 of 7 rows, 2.25 times numpy" in words
    assert "openmp is the fastest in 2 of 7 rows, 1.81 times numpy" in words
    assert "(1.93 to 3.02)" in words
    assert "Nothing beats numpy beyond noise for add" in words


def test_the_choice_is_a_valid_file_for_this_package():
    settings = tomllib.loads(snippet(shown(TYPICAL)))
    assert settings["backend"] == "threads"
    assert settings["n_jobs"] == 16
    assert settings["kernels"]["cholesky"] == "openmp"
    assert settings["kernels"]["add"] == "numpy"
    layer = sources.make_layer("backends.toml", settings)
    assert layer.kernels == settings["kernels"]


def test_the_choice_of_a_fast_mode_names_backend_and_mode():
    rows = row("sin", timed("openmp", 1.9), timed("openmp (fast)", 12.0))
    settings = tomllib.loads(snippet(shown(record(rows))))
    assert settings["mode"] == "fast"
    assert settings["kernels"] == {"sin": "openmp"}
    layer = sources.make_layer("backends.toml", settings)
    assert (layer.mode, layer.kernels) == ("fast", {"sin": "openmp"})


def test_where_numpy_wins_everywhere_there_is_nothing_to_choose():
    text = shown(record(row("sin", timed("threads", 0.9)), row("add", timed("threads", 1.0))))
    assert "Nothing beats numpy" in text
    assert "backends.toml" not in text


@st.composite
def measured(draw):
    """Give rows of some kernels with backends as they really are: openmp refuses some."""
    rows = []
    # Benches of one family are drawn as often as of several: what is best there may lack the rest.
    every = list(kernels.every().values())
    family = draw(st.none() | st.sampled_from(sorted({kernel.family for kernel in every})))
    names = [kernel.name for kernel in every if family in (None, kernel.family)]
    for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=5, unique=True)):
        found = kernels.find(name)
        for case in found.cases:
            speedups = st.sampled_from([0.5, 1.0, 1.5, 3.0])
            results = [timed("threads", draw(speedups)), timed("joblib", draw(speedups))]
            results.append(timed("openmp", draw(speedups)) if found.blas else REFUSED)
            rows.append(row(name, *results, case=case))
    return record(*rows)


@given(measured())
def test_the_choice_gives_every_kernel_a_backend_that_has_it(whole):
    text = shown(whole)
    if "backends.toml" not in text:
        assert not any(map(verdict.best, whole.rows))
        return
    layer = sources.make_layer("backends.toml", tomllib.loads(snippet(text)))
    for name, kernel in kernels.every().items():
        chosen = config.Config((layer,)).backend_for(name).value
        assert registry.get(chosen).supports(kernel) is True


@given(measured(), st.sampled_from([80, 200]))
def test_no_record_has_lines_that_are_too_long_or_cut_off(whole, width):
    text = shown(whole, width)
    assert max(map(len, text.splitlines())) <= width
    assert "\u2026" not in text


def test_nothing_but_text_reaches_what_is_no_terminal():
    file = io.StringIO()
    bad = Result("threads", "invalid", reason="wrong")
    report.show(record(row("sin", bad)), Console(file=file, width=80, force_terminal=False))
    assert file.getvalue().isprintable() is False  # line ends
    assert file.getvalue().replace("\n", "").isprintable()


def test_a_terminal_gets_colours():
    file = io.StringIO()
    console = Console(
        file=file, width=80, force_terminal=True, color_system="standard", no_color=False
    )
    report.show(TYPICAL, console)
    assert "\x1b[" in file.getvalue()


def test_an_encoding_without_the_plus_minus_sign_gets_another():
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="ascii") as file:
        report.show(TYPICAL, Console(file=file, width=80, color_system=None))
        file.flush()
        text = raw.getvalue().decode("ascii")
    assert "1.93" in text


# how far the numbers are to trust


def header(whole, width=200):
    return shown(whole, width).split("\n\n")[0]


def with_noise(*noises):
    names = [name for name in kernels.every() if kernels.find(name).family == "elementwise"]
    rows = [row(name, timed("threads", 1.5)) for name in names[: len(noises)]]
    return record(*(structs.replace(r, noise=n) for r, n in zip(rows, noises, strict=True)))


def test_the_noise_is_the_median_and_the_worst_of_the_rows():
    assert (
        "Noise: 1.8 percent (A/A, median of the rows; 6.2 at most, in multiply): a smaller "
        "difference is none\n"
    ) in header(with_noise(0.018, 0.011, 0.062))


def test_the_noise_of_one_row_is_its_own():
    text = header(with_noise(0.018))
    assert "Noise: 1.8 percent (A/A: numpy against itself): a smaller difference is none" in text


def test_without_a_baseline_there_is_no_noise_to_tell():
    assert "Noise" not in header(record(row("sin", base=Result("numpy", "failed", reason="x"))))


def conditions(**changes):
    text = header(record(row("sin"), conditions=structs.replace(QUIET, **changes)))
    return next(line for line in text.splitlines() if line.startswith(("BUSY", "Quiet")))


def test_a_quiet_machine_has_one_calm_line():
    assert conditions() == (
        "Quiet: other programs used 2.1 percent of the 16 cores; the host took 0.0 percent "
        "(steal); at the end the machine was 1.3 percent faster than at the beginning"
    )


def test_a_busy_machine_is_said_to_be_so_with_the_remedy():
    assert conditions(others=0.34, steal=0.05, drift=0.12) == (
        "BUSY: other programs used 34.0 percent of the 16 cores; the host took 5.0 percent "
        "(steal); at the end the machine was 12.0 percent slower than at the beginning. Close "
        "them, or measure again"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"others": 0.11}, "other programs used 11.0 percent of the 16 cores. Close them"),
        ({"steal": 0.03}, "the host took 3.0 percent (steal). Measure again when it is quieter"),
        ({"drift": 0.2}, "20.0 percent slower than at the beginning. Measure again when"),
        ({"drift": -0.2}, "20.0 percent faster than at the beginning. Measure again when"),
        ({"others": 0.5, "cores": 1}, "used 50.0 percent of the core. Close them"),
    ],
)
def test_only_what_is_beyond_its_limit_is_a_fault(changes, words):
    text = conditions(**changes)
    assert text.startswith("BUSY: ")
    assert text.count("percent") == 1
    assert words in text


def test_what_the_system_does_not_tell_is_not_known():
    assert conditions(others=None, steal=None) == (
        "Quiet: what other programs did is not known; at the end the machine was 1.3 percent "
        "faster than at the beginning"
    )


def test_variables_of_threads_are_told():
    found = structs.replace(QUIET, variables={"OMP_NUM_THREADS": "1", "OMP_PLACES": "cores"})
    text = header(record(row("sin"), conditions=found))
    expected = "Set in the environment, and of influence: OMP_NUM_THREADS=1, OMP_PLACES=cores"
    assert expected in text
    assert "Set in" not in header(record(row("sin")))


def test_the_ceilings_are_told_with_one_thread_and_with_all():
    assert (
        "Ceilings (1 and 16 threads): L2 72 and 1,100, L3 40 and 420, memory 9.9 and 123 GB/s; "
        "GEMM float32 120 and 1,900, float64 61 and 970 GFLOP/s\n"
    ) in header(TYPICAL)
    alone = structs.replace(CEILINGS, n_jobs=1)
    assert "Ceilings (1 thread): L2 72, L3 40, memory 9.9 GB/s; GEMM float32 120, float64 61" in (
        header(record(row("sin"), ceilings=alone))
    )


# shares of the ceilings


def placed(result, share, bound="memory", *, above=False):
    return structs.replace(result, ceiling=share, bound=bound, above=above)


@pytest.mark.parametrize(
    ("bound", "word"), [("memory", "mem"), ("L3", "L3"), ("L2", "L2"), ("GEMM", "GEMM")]
)
def test_the_share_of_the_ceiling_is_the_fastests(bound, word):
    fast = placed(timed("openmp", 2.0), 0.934, bound)
    slow = placed(timed("threads", 1.5), 0.7, bound)
    base = placed(numpy(), 0.467, bound)
    text = shown(record(row("sin", slow, fast, base=base), row("cos", base=base)))
    assert line_of(text, "sin").endswith(f" 93% {word}")
    assert line_of(text, "cos").endswith(f" 47% {word}")
    assert "!" not in text


def test_what_is_above_its_ceiling_is_marked_with_a_note():
    odd = placed(timed("openmp", 2.0), 1.25, above=True)
    fine = placed(timed("threads", 1.5), 0.7)
    text = shown(record(row("sin", fine, odd)))
    assert "2.00 \u00b10.02!*" in line_of(text, "sin")
    assert "1.50 \u00b10.02 " in line_of(text, "sin")
    assert "do not believe it: sin 4000000 openmp (1.25 times memory)" in in_words(text)


def test_a_baseline_above_its_ceiling_is_marked_too():
    text = shown(record(row("sin", base=placed(numpy(), 1.25, above=True))))
    assert "13.6 ms!*" in line_of(text, "sin")


# who is as fast as the fastest


def test_what_is_as_fast_within_the_intervals_is_marked_too_and_said():
    rows = [
        row("sin", timed("threads", 1.9, half=0.1), timed("openmp", 2.0, half=0.1)),
        row("cos", timed("threads", 1.5, half=0.1), timed("openmp", 2.0, half=0.1)),
    ]
    text = shown(record(*rows))
    assert line_of(text, "sin").count("*") == 2
    assert line_of(text, "cos").count("*") == 1
    words = in_words(text)
    assert "openmp is the fastest in 2 of 2 rows, 2.00 times numpy" in words
    assert "; within the intervals threads is as fast in 1 of them." in words


def test_what_is_as_fast_in_the_only_row_is_said_without_a_count():
    results = [timed(name, 1.9, half=0.2) for name in ("threads", "joblib")]
    words = in_words(shown(record(row("sin", *results, timed("openmp", 2.0)))))
    assert "within the intervals threads or joblib is as fast." in words


def test_what_is_not_surely_faster_than_numpy_is_not_as_fast_as_the_fastest():
    perhaps = timed("threads", 1.9, "unclear", half=1.5)
    text = shown(record(row("sin", perhaps, timed("openmp", 2.0))))
    assert line_of(text, "sin").count("*") == 1
    assert "within the intervals threads" not in in_words(text)


# other ways

WAYS = row(
    "sin",
    timed("numpy", 1.3, way="out"),
    timed("numpy", 0.8, way="cold"),
    timed("threads", 1.5),
    timed("threads", 3.5, way="out"),
    timed("threads", 1.25, way="cold"),
)


def test_other_ways_have_columns_of_their_own():
    text = shown(record(WAYS), width=120)
    title, names, ways, line = text.split("\n\n")[1].splitlines()
    assert title == "Elementwise, float64, 4,000,000 elements: times the speed of numpy"
    assert names.split() == ["numpy", "numpy", "threads", "threads"]
    assert ways.split() == [
        *("kernel", "numpy", "out=", "cold", "threads", "out=", "cold", "GB/s", "ceiling"),
    ]
    speeds = re.findall(r"\d\.\d\d(?= \u00b1)", line)
    assert speeds == ["1.30", "0.80", "1.50", "3.50", "1.25"]
    words = in_words(text)
    assert "out=: into a given array" in words
    assert "cold: with nothing in the caches" in words


def test_other_ways_are_not_ranked():
    text = shown(record(WAYS), width=120)
    assert line_of(text, "sin").count("*") == 1
    assert "1.50 \u00b10.02*" in line_of(text, "sin")
    assert "threads is the fastest in 1 row, 1.50 times numpy" in in_words(text)


def test_without_other_ways_there_is_no_word_of_them():
    words = in_words(shown(TYPICAL))
    assert "out=" not in words
    assert "cold" not in words


def test_more_errors_than_fit_go_on_below():
    from backends.bench import costs

    names = [f"backend{i}" for i in range(9)]
    parts = costs._parts(names, 40)
    assert len(parts) > 1
    assert [name for part in parts for name in part] == names
