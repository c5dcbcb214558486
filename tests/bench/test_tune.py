from __future__ import annotations

import warnings
from itertools import groupby, pairwise, product
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import backends
from backends import kernels, measurements, position, profile, registry
from backends.backend import Backend
from backends.bench import curves, decide, timer, tune
from backends.bench.curves import BASELINE, Candidate, Curve, Supply
from backends.measurements import Point
from backends.profile import Choice, Key

THREADS = Candidate("threads", 2, ("exact", "fast"))
EXACT = Candidate("openmp", 2, ("exact",))
FAST = Candidate("openmp", 2, ("fast",))
OTHER = Candidate("torch", 2, ("fast",))
CANDIDATES = (THREADS, EXACT, FAST, OTHER)
MODES = st.sampled_from(["exact", "fast"])


# where calls stand


@pytest.mark.parametrize("kernel", kernels.every().values(), ids=lambda kernel: kernel.name)
def test_arrays_stand_where_they_are_stored(kernel):
    for curve in curves.plan([kernel.name]):
        supply = Supply(kernel, curve.dtype)
        for size in (curve.fit(300), curve.fit(20), curve.fit(2)):
            arrays = supply.arrays(curve.layout, size)
            assert position.of(kernel, arrays) == (curve.dtype, curve.layout, size)
            assert not any(x.flags.writeable for x in arrays)


def test_every_kernel_is_tuned_in_all_its_dtypes_and_layouts():
    for name, kernel in kernels.every().items():
        found = {(curve.dtype, curve.layout) for curve in curves.plan([name])}
        assert {dtype for dtype, _ in found} == set(kernel.dtypes)
        layouts = position.LAYOUTS if kernel.blas else position.LAYOUTS[:2]
        assert {layout for _, layout in found} == set(layouts)


def test_curves_of_one_kernel_and_dtype_are_neighbours():
    plan = curves.plan([])
    runs = [key for key, _ in groupby(plan, key=lambda curve: curve[:2])]
    assert len(runs) == len(set(runs))


def test_candidates_are_those_who_keep_their_contract(monkeypatch):
    monkeypatch.setattr(curves, "count_jobs", lambda n_jobs: 6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # more jobs than this machine has cores
        found, notes = curves.roster(backends.sin, [np.ones(9)])
    assert notes == []
    assert BASELINE not in found
    assert {c.n_jobs for c in found if c.backend == "threads"} == {2, 4, 6}
    assert {c.modes for c in found if c.backend == "threads"} == {("exact", "fast")}
    assert not any(c.backend == "auto" for c in found)
    assert all("exact" not in c.modes or c.backend in curves.EXACT for c in found)


@pytest.mark.parametrize(
    ("kernel", "array", "modes"),
    [
        (backends.sin, np.ones(9), {("exact",), ("fast",)}),
        (backends.tanh, np.ones(9), {("exact", "fast")}),
        (backends.sin, np.ones(9, complex), {("exact", "fast")}),
        (backends.inv, np.ones((2, 2)), {("exact", "fast")}),
        (backends.inv, np.ones((9, 2, 2)), {("exact",), ("fast",)}),
    ],
)
def test_a_backend_takes_part_once_where_its_modes_are_the_same(kernel, array, modes, monkeypatch):
    monkeypatch.setattr(curves, "count_jobs", lambda n_jobs: 2)
    found, _ = curves.roster(kernel, [array])
    assert {c.modes for c in found if c.backend == "openmp"} == modes


# decisions on invented measurements


@st.composite
def samples(draw, least=6, most=12):
    count = draw(st.integers(least, most))
    seconds = st.lists(st.floats(0.5, 2.0, allow_nan=False), min_size=count, max_size=count)
    some = draw(st.lists(st.sampled_from(CANDIDATES), unique=True))
    return {c: draw(seconds) for c in (BASELINE, *some)}


@given(samples(), MODES)
def test_only_who_is_faster_with_the_whole_interval_may_be_chosen(found, mode):
    losses = decide.losses(found, mode)
    assert BASELINE in losses
    for candidate in losses:
        if candidate != BASELINE:
            assert timer.ratio(found[BASELINE], found[candidate]).low > 1
            assert mode in candidate.modes
    assert min(losses.values()) == 0


POINTS = st.dictionaries(st.integers(1, 10**6), samples(most=6), min_size=1, max_size=5)


@given(POINTS, MODES)
def test_the_way_with_the_least_loss_is_chosen(points, mode):
    chosen = decide.chosen(points, mode)

    def price(way):
        losses = sum(decide.losses(points[size], mode)[c] for size, c in zip(points, way))
        return losses + decide.SWITCH * sum(a != b for a, b in pairwise([BASELINE, *way]))

    points = dict(sorted(points.items()))
    ways = product(*(decide.losses(samples, mode) for samples in points.values()))
    assert list(chosen) == list(points)
    assert price(chosen.values()) == pytest.approx(min(map(price, ways)))


def test_one_noisy_size_makes_no_island():
    points = {n: {BASELINE: [2.0] * 6, EXACT: [1.0] * 6, THREADS: [1.5] * 6} for n in (1, 2, 3)}
    points[2] = {BASELINE: [2.0] * 6, EXACT: [1.0] * 6, THREADS: [0.95] * 6}
    assert decide.choices(points, "exact") == (Choice(1, "openmp", 2),)
    # Where noise hides who wins, who was proven at a smaller size stays, if it seems to win.
    points[2] = points[3] = {BASELINE: [2.0] * 6, EXACT: [1.0] * 5 + [3.0]}
    assert decide.choices(points, "exact") == (Choice(1, "openmp", 2),)
    points[3] = {BASELINE: [2.0] * 6, EXACT: [3.0] * 6}
    assert decide.choices(points, "exact")[-1].backend == "numpy"
    # Nobody begins there.
    points[1] = points[2]
    assert decide.choices(points, "exact") == ()


@given(POINTS, MODES)
def test_steps_rise_and_each_changes_something(points, mode):
    steps = decide.choices(points, mode)
    assert [s.start for s in steps] == sorted({s.start for s in steps})
    backends_and_jobs = [("numpy", 1), *((s.backend, s.n_jobs) for s in steps)]
    assert all(a != b for a, b in pairwise(backends_and_jobs))
    chosen = decide.chosen(points, mode)
    for size, choice in chosen.items():
        step = [s for s in steps if s.start <= size][-1:] or [Choice(0, "numpy", 1)]
        assert step[0][1:] == choice[:2]


def test_mode_fast_has_lines_of_its_own_only_where_they_differ():
    kernel = Curve(backends.sin, "float64", "contiguous")
    same = {100: {BASELINE: [2.0] * 6, EXACT: [1.0] * 6, FAST: [1.0] * 6}}
    other = {100: {BASELINE: [2.0] * 6, EXACT: [2.0] * 6, FAST: [0.2] * 6}}
    key = Key("exact", "float64", "contiguous", "sin")
    assert list(tuned(kernel, same).choices) == [key]
    assert tuned(kernel, other).choices == {
        key: (),
        key._replace(mode="fast"): (Choice(100, "openmp", 2),),
    }


def test_where_to_measure_next_is_between_different_choices_that_matter():
    wins = {BASELINE: [2.0] * 6, EXACT: [1.0] * 6}
    loses = {BASELINE: [1.0] * 6, EXACT: [2.0] * 6}
    alike = {BASELINE: [1.04] * 6, EXACT: [1.0] * 6}
    assert decide.gap({100: loses, 400: wins, 1600: wins}, round) == (200, 100, 400)
    assert decide.gap({100: loses, 104: wins}, round) is None
    assert decide.gap({100: loses, 400: alike}, round) is None
    assert decide.gap({100: wins, 400: wins}, round) is None
    # Where stacks have no size between, elsewhere.
    points = {64: loses, 128: wins, 6400: wins, 25600: loses}
    assert decide.gap(points, lambda size: round(size / 64) * 64) == (12800, 6400, 25600)


def test_what_might_have_won_is_told():
    noisy = {BASELINE: [2.0] * 6, EXACT: [1.0] * 5 + [3.0]}
    assert "openmp with n_jobs=2 is 0.67 to 2.00 times" in decide.doubt(noisy, "exact")
    assert not decide.is_clear(noisy, "exact")
    assert decide.doubt({BASELINE: [1.0] * 6, EXACT: [2.0] * 6}, "exact") == ""


# the search, with a clock of its own


class World:
    """Backends whose seconds are a function of the size, and a clock that only they move."""

    def __init__(self, patch):
        self.now = 0.0
        self.wrong = set()
        self.broken = set()
        self.results = {}
        self.engines = {}
        for module in (timer, tune, curves):
            patch.setattr(module, "time", SimpleNamespace(perf_counter=self.clock))
        patch.setattr(registry, "available", lambda: list({name for name, *_ in self.engines}))
        patch.setattr(registry, "get", lambda name, n_jobs, mode: self.engines[name, n_jobs, mode])
        patch.setattr(curves, "count_jobs", lambda n_jobs: 2)
        self.add("numpy", lambda n, jobs, mode: 1e-6 + 1e-8 * n)

    def clock(self):
        self.now += 1e-7  # so that loops which wait for a moment end
        return self.now

    def add(self, name, cost):
        world = self

        class Engine(Backend):
            takes_mode = name == "openmp"

            def __init__(self, n_jobs, mode):
                self.n_jobs, self.mode = n_jobs, mode

            def divides(self, kernel, *arrays):
                return name == "numpy" or self.n_jobs > 1 or self.mode == "fast"

            def run(self, kernel, *arrays, out=None):
                place = position.of(kernel, arrays)
                world.now += cost(place.size, self.n_jobs, self.mode)
                if name in world.broken:
                    raise RuntimeError("no memory")
                if place not in world.results:
                    world.results[place] = kernel.reference(*arrays)
                result = world.results[place]
                return result + 1 if name in world.wrong else result

        for n_jobs in (1, 2):
            for mode in ("exact", "fast"):
                engine = Engine(n_jobs, mode)
                if not Engine.takes_mode and mode == "fast":
                    engine = self.engines[name, n_jobs, "exact"]
                self.engines[name, n_jobs, mode] = engine


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


SIN = Curve(backends.sin, "float64", "contiguous")
KEY = Key("exact", "float64", "contiguous", "sin")


def search(*, seconds=5.0, curve=SIN):
    (found,) = tune.tune([curve], seconds=seconds)
    return found


def tuned(curve, points, *, finished=True):
    return tune.Tuned(curve, points, finished, "" if finished else "no time", 1.0, 1.0, ())


def parallel(start):
    """Give the seconds of a backend that shares out all but the start of its threads."""
    return lambda n, jobs, mode: 1e-6 + start * (jobs > 1) + 1e-8 * n / jobs


@pytest.mark.parametrize("start", [2e-6, 7e-6, 3e-5, 2e-4, 1e-3])
def test_the_crossing_is_found(world, start):
    world.add("openmp", parallel(start))
    found = search()
    (step,) = found.choices[KEY]
    crossing = start / 5e-9
    assert crossing <= step.start <= 1.25 * crossing
    assert (step.backend, step.n_jobs) == ("openmp", 2)
    assert found.unclear == ""
    assert KEY._replace(mode="fast") not in found.choices


def test_two_crossings_are_found(world):
    world.add("openmp", parallel(1e-5))
    world.add("threads", lambda n, jobs, mode: 1e-4 + 2e-9 * n if jobs > 1 else 1)
    first, second = search().choices[KEY]
    assert first[1:] == ("openmp", 2)
    assert second[1:] == ("threads", 2)
    assert 2e-5 / 1e-8 <= first.start <= 1.25 * 2e-5 / 1e-8
    assert 9e-5 / 3e-9 <= second.start <= 1.25 * 9e-5 / 3e-9


def test_what_loses_bits_is_chosen_in_mode_fast_only(world):
    world.add("torch", lambda n, jobs, mode: 1e-5 + 1e-9 * n)
    found = search().choices
    assert found[KEY] == ()
    (step,) = found[KEY._replace(mode="fast")]
    assert step.backend == "torch"


def test_who_never_wins_leaves_numpy(world):
    world.add("openmp", lambda n, jobs, mode: 5e-6 + 1.01e-8 * n)
    world.add("joblib", lambda n, jobs, mode: 1e-3 + 1e-7 * n)
    found = search()
    assert found.choices == {KEY: ()}
    # What is hopeless at a first look is not measured at all.
    assert not any(c.backend == "joblib" for samples in found.points.values() for c in samples)


def test_one_job_leaves_numpy_in_mode_exact(world, monkeypatch):
    monkeypatch.setattr(curves, "count_jobs", lambda n_jobs: 1)
    world.add("threads", parallel(0.0))
    world.add("openmp", lambda n, jobs, mode: 1e-6 + 1e-9 * n)
    found = search()
    assert found.choices[KEY] == ()
    assert found.choices[KEY._replace(mode="fast")][0].backend == "openmp"


def test_wrong_and_broken_backends_are_left_out_with_a_note(world):
    world.add("openmp", lambda n, jobs, mode: 1e-9)
    world.add("torch", lambda n, jobs, mode: 1e-9)
    world.wrong.add("openmp")
    world.broken.add("torch")
    found = search()
    assert found.choices == {KEY: ()}
    assert "openmp is left out for sin of float64, contiguous: its result is" in str(found.notes)
    assert "torch is left out for sin of float64, contiguous: RuntimeError: no memory" in str(
        found.notes
    )


def test_a_kernel_that_fails_is_said_and_the_others_go_on(world):
    @backends.elementwise(domain=(0.0, 1.0), flops=1)
    def broken(x, /, *, out=None):
        raise RuntimeError("no such thing")

    first, second = tune.tune([Curve(broken, "float64", "contiguous"), SIN], seconds=5.0)
    assert first.unclear == "numpy itself fails: RuntimeError: no such thing"
    assert not first.points
    assert second.finished


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.1, 0.3, 1.0])
def test_a_small_budget_is_kept_and_what_is_missing_said(world, seconds):
    world.add("openmp", parallel(3e-5))
    plan = curves.plan(["sin"])
    found = list(tune.tune(plan, seconds=seconds))
    assert [each.curve for each in found] == plan
    # One size of one curve may begin just before the end.
    assert world.now <= seconds + 1.0
    for each in found:
        assert each.finished or each.unclear
        for steps in each.choices.values() if each.points else ():
            assert all(step.start in each.points for step in steps)
    if seconds < 0.1:
        assert not all(each.finished for each in found)
        assert tune.enough_time(found, len(plan), seconds) > seconds
    enough = tune.enough_time(found, len(plan), seconds)
    if not all(each.finished for each in found):
        assert enough >= 1.5 * seconds


def test_what_one_curve_does_not_need_the_others_have(world):
    world.add("openmp", parallel(3e-5))
    plan = curves.plan(["sin"])
    begin = world.now
    found = list(tune.tune(plan, seconds=60.0))
    assert all(each.finished and not each.unclear for each in found)
    assert world.now - begin < 60.0


# merging


def points_of(curve, size):
    return [Point(curve.kernel.name, curve.dtype, curve.layout, size, [])]


@given(st.lists(st.sampled_from(curves.plan(["sin", "matmul", "erf"])), unique=True))
def test_merging_keeps_all_that_was_not_measured(chosen):
    plan = curves.plan(["sin", "matmul", "erf"])
    old = {
        Key(mode, c.dtype, c.layout, c.kernel.name): (Choice(7, "threads", 2),)
        for c in plan
        for mode in ("exact", "fast")
    }
    new = [tuned(c, {100: {BASELINE: [2.0] * 6, EXACT: [1.0] * 6}}) for c in chosen]
    choices, points = tune.merge(new, old, [p for c in plan for p in points_of(c, 7)])
    for curve in plan:
        key = Key("exact", curve.dtype, curve.layout, curve.kernel.name)
        sizes = [p.size for p in points if key[1:] == (p.dtype, p.layout, p.kernel)]
        if curve in chosen:
            assert choices[key] == (Choice(100, "openmp", 2),)
            assert sizes == [100]
        else:
            assert choices[key] == old[key]
            assert choices[key._replace(mode="fast")] == old[key]
            assert sizes == [7]


def test_what_was_not_finished_replaces_nothing():
    point = {100: {BASELINE: [2.0] * 6, EXACT: [1.0] * 6}}
    unfinished = tuned(SIN, point, finished=False)
    old = {KEY: (Choice(7, "threads", 2),)}
    assert tune.merge([unfinished], old, points_of(SIN, 7)) == (old, points_of(SIN, 7))
    choices, points = tune.merge([unfinished], {}, [])
    assert choices[KEY] == (Choice(100, "openmp", 2),)
    assert [p.size for p in points] == [100]


def test_a_curve_that_was_not_reached_says_nothing():
    assert tune.merge([tuned(SIN, {}, finished=False)], {}, []) == ({}, [])


def test_what_is_written_is_read_again(world):
    world.add("openmp", parallel(3e-5))
    found = list(tune.tune(curves.plan(["negative"]), seconds=5.0))
    choices, points = tune.merge(found, {}, [])
    written = profile.write("now", choices, points)
    assert profile.read(profile.path()).choices == choices == written.choices
    assert measurements.read(profile.path().with_suffix(".json"), "now") == points
    for point in points:
        first = point.candidates[0]
        assert (first.backend, first.speedup) == ("numpy", 1.0)


def test_backends_that_cannot_start_or_fail_are_noted(monkeypatch):
    def get(name, n_jobs, *, mode):
        if name == "joblib":
            raise backends.BackendUnavailableError("no processes here")
        raise ZeroDivisionError("a plug-in's own")

    monkeypatch.setattr(registry, "available", lambda: ["numpy", "threads", "joblib"])
    monkeypatch.setattr(registry, "get", get)
    found, notes = curves.roster(backends.sin, (np.ones(3),))
    assert [c for c in found if c != BASELINE] == []
    assert notes == ["backend 'threads': ZeroDivisionError: a plug-in's own", "no processes here"]


def test_a_call_that_fails_is_left_out_but_for_the_baselines():
    def fail():
        raise ZeroDivisionError("no")

    one = Candidate("threads", 2, ("exact",))
    kept, notes = curves.promising({BASELINE: lambda: None, one: fail}, within=2.0)
    assert (kept, notes) == ([], ["threads: ZeroDivisionError: no"])
    with pytest.raises(ZeroDivisionError):
        curves.promising({BASELINE: fail}, within=2.0)
