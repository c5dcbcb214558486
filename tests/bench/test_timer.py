from __future__ import annotations

import gc
import itertools
import math
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.bench import timer
from backends.bench.timer import Timing, compare, ratio

# Powers of two: sums of them are exact, so that equal candidates take equal times to the last bit.
LONG = 2.0**-9  # one call is a whole sample
SHORT = 2.0**-17


class Clock:
    """Time that passes only when a candidate spends it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.spinning = 0.0  # seconds for which a thread left behind goes on
        self.used = 0.0

    def perf_counter(self) -> float:
        return self.now

    def process_time(self) -> float:
        return self.used

    def sleep(self, seconds: float) -> None:
        # Outside what is timed, so that tests can count samples by the clock.
        busy = min(seconds, self.spinning)
        self.spinning -= busy
        self.used += busy


class Candidate:
    """Spends the given durations in turn, the last one for ever; gives its call's number."""

    def __init__(self, clock, durations=(LONG,), *, name="", log=None):
        self.clock, self.name, self.log = clock, name, log
        self.durations = itertools.chain(durations, itertools.repeat(durations[-1]))
        self.calls = 0

    def __call__(self):
        self.calls += 1
        if self.log is not None:
            self.log.append(self.name)
        self.clock.now += next(self.durations)
        return self.calls


def lognormal(seed, sigma, mean=LONG, count=5000):
    """Give durations as machines have them: many near the least, a few much longer."""
    return list(mean * np.exp(np.random.default_rng(seed).normal(0.0, sigma, count)))


@pytest.fixture
def clock(monkeypatch):
    fake = Clock()
    monkeypatch.setattr(timer, "time", fake)
    return fake


def test_candidates_are_interleaved_and_each_round_has_its_own_order(clock):
    log = []
    names = ["numpy", "threads", "joblib"]
    # Noisy, so that there are many rounds.
    candidates = {
        name: Candidate(clock, lognormal(i, 0.5), name=name, log=log)
        for i, name in enumerate(names)
    }
    timings = compare(candidates, seconds=1.0)
    timed = log[-3 * len(timings["numpy"].seconds) :]
    rounds = [tuple(timed[i : i + 3]) for i in range(0, len(timed), 3)]
    assert all(sorted(order) == sorted(names) for order in rounds)
    assert set(rounds) == set(itertools.permutations(names))


def test_the_order_within_rounds_depends_on_the_seed_alone(clock):
    def order(seed):
        log = []
        compare(
            {name: Candidate(clock, name=name, log=log) for name in "abcd"}, seconds=0.0, seed=seed
        )
        return log

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_timings_are_in_the_order_of_the_candidates(clock):
    timings = compare({name: Candidate(clock) for name in "bca"}, seconds=0.0)
    assert list(timings) == ["b", "c", "a"]


def test_what_a_first_call_pays_is_in_no_sample(clock):
    timings = compare({"cold": Candidate(clock, (100.0, LONG))}, seconds=0.0)
    assert timings["cold"].seconds == [LONG] * 5


@given(duration=st.floats(1e-7, 1e-2))
def test_a_sample_lasts_long_enough_for_the_clock_and_seconds_are_of_one_call(duration):
    # Not the fixture: Hypothesis runs many examples in one test.
    clock = Clock()
    candidate = Candidate(clock, (duration,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timer, "time", clock)
        (timing,) = compare({"numpy": candidate}, seconds=0.0).values()
    assert timing.seconds == pytest.approx([duration] * 5)
    sample = (candidate.calls - 2) / 5 * duration
    assert sample >= timer.SAMPLE * (1 - 1e-9)
    assert sample <= max(2 * timer.SAMPLE, duration * (1 + 1e-9))


def test_a_long_candidate_is_called_once_a_round_beside_a_short_one(clock):
    long, short = Candidate(clock, (1.0,)), Candidate(clock, (SHORT,))
    timings = compare({"long": long, "short": short}, seconds=0.0)
    assert long.calls == 2 + 5
    assert short.calls > 2 + 5 * 100
    assert len(timings["long"].seconds) == len(timings["short"].seconds) == 5


def test_there_are_five_rounds_even_without_a_budget(clock):
    noisy = {name: Candidate(clock, lognormal(i, 1.0)) for i, name in enumerate("ab")}
    timings = compare(noisy, seconds=0.0)
    assert [len(t.seconds) for t in timings.values()] == [5, 5]


def test_the_budget_ends_a_comparison_that_stays_noisy(clock):
    noisy = {name: Candidate(clock, lognormal(i, 0.5, mean=0.01)) for i, name in enumerate("ab")}
    timings = compare(noisy, seconds=1.0)
    assert 5 < len(timings["a"].seconds) < timer.MOST_ROUNDS
    timed = [sum(pair) for pair in zip(*(t.seconds for t in timings.values()), strict=True)]
    assert sum(timed[:-1]) < 1.0 <= sum(timed)


def test_a_narrow_interval_ends_it_long_before_the_budget(clock):
    steady = {"a": Candidate(clock, (3 * LONG,)), "b": Candidate(clock)}
    timings = compare(steady, seconds=1e9)
    assert [len(t.seconds) for t in timings.values()] == [5, 5]


def test_one_wide_interval_keeps_all_going(clock):
    mixed = {
        "a": Candidate(clock),
        "steady": Candidate(clock),
        "noisy": Candidate(clock, lognormal(0, 0.5)),
    }
    timings = compare(mixed, seconds=0.2)
    assert len({len(t.seconds) for t in timings.values()}) == 1
    assert len(timings["a"].seconds) > 5


def test_rounds_end_even_if_the_budget_never_does(clock):
    noisy = {name: Candidate(clock, lognormal(i, 2.0)) for i, name in enumerate("ab")}
    timings = compare(noisy, seconds=float("inf"))
    assert len(timings["a"].seconds) == timer.MOST_ROUNDS


def test_a_machine_that_slows_down_half_way_leaves_the_ratio_alone():
    # As if the clock rate had halved in the middle round, between one candidate and the other.
    noise = np.exp(np.random.default_rng(0).normal(0.0, 0.003, (2, 21)))
    slow = np.arange(21) > 10
    baseline = np.where(slow | (np.arange(21) == 10), 2.0, 1.0) * noise[0]
    candidate = np.where(slow, 2.0, 1.0) * noise[1]
    found = ratio(baseline, candidate)
    assert found.value == pytest.approx(1.0, rel=0.05)


def test_garbage_is_collected_before_and_after_but_not_while_timing(clock):
    states = []

    def candidate():
        states.append(gc.isenabled())
        clock.now += LONG

    assert gc.isenabled()
    compare({"a": candidate}, seconds=0.0)
    assert gc.isenabled()
    assert states == [True, True, *[False] * 5]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_garbage_is_collected_again_after_an_exception(clock, error):
    def candidate():
        clock.now += LONG
        if not gc.isenabled():
            raise error

    with pytest.raises(error):
        compare({"a": candidate}, seconds=0.0)
    assert gc.isenabled()


def test_who_had_garbage_collection_off_has_it_off_afterwards(clock):
    gc.disable()
    try:
        compare({"a": Candidate(clock)}, seconds=0.0)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_no_result_is_kept_while_the_next_is_computed(clock):
    class Result:
        pass

    made = []

    def candidate():
        alive.append(sum(ref() is not None for ref in made))
        clock.now += SHORT
        result = Result()
        made.append(weakref.ref(result))
        return result

    alive = []
    compare({"a": candidate, "b": candidate}, seconds=0.0)
    assert len(alive) > 1000
    assert not any(alive)


def test_threads_that_a_candidate_leaves_spinning_are_waited_for(clock):
    met = []

    class Spins(Candidate):
        def __call__(self):
            clock.spinning = 0.1
            return super().__call__()

    class Meets(Candidate):
        def __call__(self):
            met.append(clock.spinning)
            return super().__call__()

    compare({"quiet": Meets(clock), "spins": Spins(clock), "other": Meets(clock)}, seconds=0.0)
    assert len(met) > 10
    assert max(met) < timer.LOOK


def test_the_first_timed_result_of_each_is_checked_once(clock):
    seen = []
    candidates = {"a": Candidate(clock), "b": Candidate(clock)}
    compare(candidates, seconds=0.0, check=lambda name, result: seen.append((name, result)) or "")
    # The third call: two were for warming up.
    assert sorted(seen) == [("a", 3), ("b", 3)]


def test_a_wrong_result_takes_the_candidate_out_and_the_others_go_on(clock):
    wrong = Candidate(clock, (SHORT,))
    timings = compare(
        {"a": Candidate(clock), "wrong": wrong, "c": Candidate(clock)},
        seconds=1e9,
        check=lambda name, result: "off by one" if name == "wrong" else "",
    )
    assert timings["wrong"] == Timing([], "off by one", invalid=True)
    assert wrong.calls == 2 + math.ceil(timer.SAMPLE / SHORT)
    assert [len(timings[name].seconds) for name in "ac"] == [5, 5]
    assert not timings["a"].fault
    assert not timings["c"].fault


def test_a_wrong_baseline_leaves_no_ratio_but_harms_no_other_candidate(clock):
    timings = compare(
        {"a": Candidate(clock), "b": Candidate(clock)},
        seconds=1e9,
        check=lambda name, result: "differs from call to call" if name == "a" else "",
    )
    assert timings["a"] == Timing([], "differs from call to call", invalid=True)
    assert timings["b"].seconds[:5] == [LONG] * 5


@pytest.mark.parametrize("call", [1, 2, 3, 5], ids=["first", "second", "first timed", "later"])
def test_a_candidate_that_raises_has_failed_and_the_others_go_on(clock, call):
    inner = Candidate(clock)

    def failing():
        if inner() == call:
            raise MemoryError("no room for 8 GB")

    timings = compare({"a": Candidate(clock), "b": failing, "c": Candidate(clock)}, seconds=1e9)
    assert timings["b"].fault == "MemoryError: no room for 8 GB"
    assert not timings["b"].invalid
    assert inner.calls == call
    assert [len(timings[name].seconds) for name in "ac"] == [5, 5]


@pytest.mark.parametrize("call", [1, 2, 3, 5])
def test_a_baseline_that_raises_ends_the_comparison(clock, call):
    inner = Candidate(clock)

    def failing():
        if inner() == call:
            raise ArithmeticError("baseline")

    with pytest.raises(ArithmeticError, match="baseline"):
        compare({"a": failing, "b": Candidate(clock)}, seconds=0.0)


@pytest.mark.parametrize("call", [1, 3, 5])
def test_ctrl_c_is_no_fault_of_the_candidate_that_it_hits(clock, call):
    inner = Candidate(clock)

    def interrupted():
        if inner() == call:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare({"a": Candidate(clock), "b": interrupted}, seconds=0.0)
    assert gc.isenabled()


def test_the_real_clock_tells_a_sum_from_nothing():
    timings = compare({"sum": lambda: sum(range(10_000)), "nothing": lambda: 0}, seconds=0.0)
    assert ratio(timings["sum"].seconds, timings["nothing"].seconds).verdict == "faster"


@pytest.mark.parametrize("rounds", [5, 20, 60])
@pytest.mark.parametrize("sigma", [0.01, 0.1, 0.5])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(rounds, sigma):
    rng = np.random.default_rng(rounds)
    truth, covered = 1.7, 0
    for _ in range(200):
        # What slows the machine down slows both; the rest each has alone.
        shared = np.exp(rng.normal(0.0, sigma, rounds))
        baseline = truth * shared * np.exp(rng.normal(0.0, sigma, rounds))
        found = ratio(baseline, shared * np.exp(rng.normal(0.0, sigma, rounds)))
        covered += found.low <= truth <= found.high
    assert covered >= 170


def test_stopping_at_a_narrow_interval_does_not_make_it_a_lie(clock):
    # Rounds go on until the interval is narrow, which favours intervals narrow by chance.
    covered = 0
    for seed in range(100):
        durations = lognormal(seed, 0.01)
        baseline = Candidate(clock, [1.5 * d for d in durations[::2]])
        timings = compare(
            {"a": baseline, "b": Candidate(clock, durations[1::2])}, seconds=1e9, seed=seed
        )
        found = ratio(timings["a"].seconds, timings["b"].seconds)
        covered += found.low <= 1.5 <= found.high
    assert covered >= 85


@pytest.mark.parametrize("rounds", [5, 20, 60])
@pytest.mark.parametrize("sigma", [0.01, 0.1, 0.5])
def test_equals_are_rarely_told_apart(rounds, sigma):
    rng = np.random.default_rng(rounds)
    verdicts = [ratio(*np.exp(rng.normal(0.0, sigma, (2, rounds)))).verdict for _ in range(200)]
    assert set(verdicts) <= {"same", "unclear", "faster", "slower"}
    assert verdicts.count("faster") + verdicts.count("slower") < 20


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [
        (0.5, "slower"),
        (0.969, "slower"),
        (0.971, "same"),
        (1.0, "same"),
        (1.029, "same"),
        (1.031, "faster"),
        (2.0, "faster"),
    ],
)
def test_without_noise_the_verdict_is_the_ratio_with_three_percent_for_the_same(factor, verdict):
    found = ratio([factor] * 5, [1.0] * 5)
    assert found == (factor, factor, factor, verdict)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.98, 1.02, "same"),
        (1.005, 1.02, "same"),
        (1.01, 1.5, "faster"),
        (0.5, 0.99, "slower"),
        (0.8, 1.2, "unclear"),
        (0.99, 1.5, "unclear"),
        (0.5, 1.01, "unclear"),
    ],
)
def test_the_verdict_is_of_the_whole_interval(low, high, verdict):
    # Two values evenly: resampling gives nearly the one or nearly the other, or what is between.
    found = ratio([low, high] * 10, [1.0] * 20)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.verdict == verdict


samples = st.integers(5, 12).flatmap(
    lambda n: st.tuples(*[st.lists(st.floats(1e-6, 1e3), min_size=n, max_size=n)] * 2)
)


@given(samples)
def test_the_interval_holds_the_value_and_stays_within_what_was_seen(pair):
    baseline, candidate = pair
    found = ratio(baseline, candidate)
    slack = 1e-12
    assert found.low * (1 - slack) <= found.value <= found.high * (1 + slack)
    assert found.low >= min(baseline) / max(candidate) * (1 - slack)
    assert found.high <= max(baseline) / min(candidate) * (1 + slack)


@given(samples, st.sampled_from([2.0**-20, 0.5, 2.0, 1024.0]))
def test_a_ratio_has_no_unit(pair, unit):
    baseline, candidate = pair
    scaled = ratio([unit * x for x in baseline], [unit * x for x in candidate])
    assert scaled == ratio(baseline, candidate)


@given(samples)
def test_whoever_is_faster_leaves_the_other_slower(pair):
    opposite = {"faster": "slower", "slower": "faster"}
    verdict, back = ratio(*pair).verdict, ratio(*pair[::-1]).verdict
    if "same" not in (verdict, back):  # three percent more is not three percent less
        assert back == opposite.get(verdict, verdict)
