from __future__ import annotations

import bisect
import collections
import gc
import itertools
import math
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.bench import timer
from backends.bench.timer import Comparison, Timing, compare, ratio

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


def lognormal(seed, sigma, mean=LONG, count=8000):
    """Give durations as machines have them: many near the least, a few much longer."""
    return list(mean * np.exp(np.random.default_rng(seed).normal(0.0, sigma, count)))


def timings_of(candidates, **options):
    """Compare without the second run of the baseline, whose calls tests would have to count."""
    return compare(candidates, again=False, **options).timings


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
    timings = timings_of(candidates, seconds=1.0)
    timed = log[-3 * len(timings["numpy"].seconds) :]
    rounds = [tuple(timed[i : i + 3]) for i in range(0, len(timed), 3)]
    assert all(sorted(order) == sorted(names) for order in rounds)
    assert set(rounds) == set(itertools.permutations(names))


def test_the_order_within_rounds_depends_on_the_seed_alone(clock):
    def order(**seed):
        log = []
        timings_of(
            {name: Candidate(clock, name=name, log=log) for name in "abcd"}, seconds=0.0, **seed
        )
        return log

    assert order(seed=1) == order(seed=1)
    assert order(seed=1) != order(seed=2)
    assert order() == order(seed=0)


def test_timings_are_in_the_order_of_the_candidates(clock):
    timings = timings_of({name: Candidate(clock) for name in "bca"}, seconds=0.0)
    assert list(timings) == ["b", "c", "a"]


def test_what_a_first_call_pays_is_in_no_sample(clock):
    timings = timings_of({"cold": Candidate(clock, (100.0, LONG))}, seconds=0.0)
    assert timings["cold"].seconds == [LONG] * 6


@given(duration=st.floats(1e-7, 1e-2))
def test_a_sample_lasts_long_enough_for_the_clock_and_seconds_are_of_one_call(duration):
    # Not the fixture: Hypothesis runs many examples in one test.
    clock = Clock()
    candidate = Candidate(clock, (duration,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timer, "time", clock)
        (timing,) = timings_of({"numpy": candidate}, seconds=0.0).values()
    assert timing.seconds == pytest.approx([duration] * 6)
    sample = (candidate.calls - 2) / 6 * duration
    assert sample >= timer.SAMPLE * (1 - 1e-9)
    assert sample <= max(2 * timer.SAMPLE, duration * (1 + 1e-9))


def test_a_long_candidate_is_called_once_a_round_beside_a_short_one(clock):
    long, short = Candidate(clock, (1.0,)), Candidate(clock, (SHORT,))
    timings = timings_of({"long": long, "short": short}, seconds=0.0)
    assert long.calls == 2 + 6
    assert short.calls == 2 + 6 * math.ceil(timer.SAMPLE / SHORT)
    assert len(timings["long"].seconds) == len(timings["short"].seconds) == 6


def test_there_are_six_rounds_even_without_a_budget(clock):
    noisy = {name: Candidate(clock, lognormal(i, 1.0)) for i, name in enumerate("ab")}
    timings = timings_of(noisy, seconds=0.0)
    assert [len(t.seconds) for t in timings.values()] == [6, 6]


def test_the_budget_ends_a_comparison_that_stays_noisy(clock):
    noisy = {name: Candidate(clock, lognormal(i, 0.5, mean=0.01)) for i, name in enumerate("ab")}
    timings = timings_of(noisy, seconds=1.0)
    assert 6 < len(timings["a"].seconds) < timer.MOST_ROUNDS
    timed = [sum(pair) for pair in zip(*(t.seconds for t in timings.values()), strict=True)]
    assert sum(timed[:-1]) < 1.0 <= sum(timed)


def test_a_budget_that_is_used_up_by_a_round_allows_no_other(clock):
    timings = timings_of({"a": Candidate(clock)}, seconds=10 * LONG)
    assert timings["a"].seconds == [LONG] * 10


@pytest.mark.parametrize("truth", [0.1, 1.0, 8.0])
def test_rarely_it_is_looked_whether_the_interval_is_narrow_and_then_it_is(clock, truth):
    # Half as many rounds again each time: who looks always meets the one that is narrow by chance.
    looks = [20, 30, 45, 68, 102, 152, 228, 342, 513, 769]
    ends = collections.Counter()
    for seed in range(30):
        durations = lognormal(seed, 0.02)
        candidates = {
            "a": Candidate(clock, [truth * d for d in durations[::2]]),
            "b": Candidate(clock, durations[1::2]),
        }
        timings = timings_of(candidates, seconds=1e9, seed=seed)
        found = ratio(timings["a"].seconds, timings["b"].seconds)
        assert found.high - found.low <= 2 * timer.NARROW * found.value
        ends[len(timings["a"].seconds)] += 1
    assert set(ends) <= set(looks)
    assert len(ends) > 2


def test_a_narrow_interval_ends_it_long_before_the_budget(clock):
    steady = {"a": Candidate(clock, (3 * LONG,)), "b": Candidate(clock)}
    timings = timings_of(steady, seconds=1e9)
    assert [len(t.seconds) for t in timings.values()] == [timer.ENOUGH_ROUNDS] * 2


def test_one_wide_interval_keeps_all_going(clock):
    mixed = {
        "a": Candidate(clock),
        "steady": Candidate(clock),
        "noisy": Candidate(clock, lognormal(0, 0.5)),
    }
    timings = timings_of(mixed, seconds=0.2)
    assert len({len(t.seconds) for t in timings.values()}) == 1
    assert len(timings["a"].seconds) > timer.ENOUGH_ROUNDS


def test_rounds_end_even_if_the_budget_never_does(clock):
    noisy = {name: Candidate(clock, lognormal(i, 2.0)) for i, name in enumerate("ab")}
    timings = timings_of(noisy, seconds=float("inf"))
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
    timings_of({"a": candidate}, seconds=0.0)
    assert gc.isenabled()
    assert states == [True, True, *[False] * 6]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_garbage_is_collected_again_after_an_exception(clock, error):
    def candidate():
        clock.now += LONG
        if not gc.isenabled():
            raise error

    with pytest.raises(error):
        timings_of({"a": candidate}, seconds=0.0)
    assert gc.isenabled()


def test_who_had_garbage_collection_off_has_it_off_afterwards(clock):
    gc.disable()
    try:
        timings_of({"a": Candidate(clock)}, seconds=0.0)
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
    timings_of({"a": candidate, "b": candidate}, seconds=0.0)
    assert len(alive) > 300
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

    timings_of({"quiet": Meets(clock), "spins": Spins(clock), "other": Meets(clock)}, seconds=0.0)
    assert len(met) > 10
    assert max(met) < timer.LOOK


def test_the_first_timed_result_of_each_is_checked_once(clock):
    seen = []
    candidates = {"a": Candidate(clock), "b": Candidate(clock)}
    timings_of(
        candidates, seconds=0.0, check=lambda name, result: seen.append((name, result)) or ""
    )
    # The third call: two were for warming up.
    assert sorted(seen) == [("a", 3), ("b", 3)]


def test_a_wrong_result_takes_the_candidate_out_and_the_others_go_on(clock):
    wrong = Candidate(clock, (SHORT,))
    timings = timings_of(
        {"a": Candidate(clock), "wrong": wrong, "c": Candidate(clock)},
        seconds=1e9,
        check=lambda name, result: "off by one" if name == "wrong" else "",
    )
    assert timings["wrong"] == Timing([], "off by one", invalid=True)
    assert not timings["wrong"].seconds
    assert [len(timings[name].seconds) for name in "ac"] == [timer.ENOUGH_ROUNDS] * 2
    assert not timings["a"].fault
    assert not timings["c"].fault


def test_a_wrong_baseline_leaves_no_ratio_but_harms_no_other_candidate(clock):
    timings = timings_of(
        {"a": Candidate(clock), "b": Candidate(clock)},
        seconds=1e9,
        check=lambda name, result: "differs from call to call" if name == "a" else "",
    )
    assert timings["a"] == Timing([], "differs from call to call", invalid=True)
    assert timings["b"].seconds == [LONG] * timer.ENOUGH_ROUNDS


@pytest.mark.parametrize("call", [1, 2, 3, 5], ids=["first", "second", "third", "fifth"])
def test_a_candidate_that_raises_has_failed_and_the_others_go_on(clock, call):
    inner = Candidate(clock)

    def failing():
        if inner() == call:
            raise MemoryError("no room for 8 GB")

    timings = timings_of({"a": Candidate(clock), "b": failing, "c": Candidate(clock)}, seconds=1e9)
    assert timings["b"].fault == "MemoryError: no room for 8 GB"
    assert not timings["b"].invalid
    assert inner.calls == call
    assert [len(timings[name].seconds) for name in "ac"] == [timer.ENOUGH_ROUNDS] * 2


@pytest.mark.parametrize("call", [1, 2, 3, 5])
def test_a_baseline_that_raises_ends_the_comparison(clock, call):
    inner = Candidate(clock)

    def failing():
        if inner() == call:
            raise ArithmeticError("baseline")

    with pytest.raises(ArithmeticError, match="baseline"):
        timings_of({"a": failing, "b": Candidate(clock)}, seconds=0.0)


@pytest.mark.parametrize("call", [1, 3, 5])
def test_ctrl_c_is_no_fault_of_the_candidate_that_it_hits(clock, call):
    inner = Candidate(clock)

    def interrupted():
        if inner() == call:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        timings_of({"a": Candidate(clock), "b": interrupted}, seconds=0.0)
    assert gc.isenabled()


def test_the_real_clock_tells_a_sum_from_nothing():
    timings = timings_of({"sum": lambda: sum(range(10_000)), "nothing": lambda: 0}, seconds=0.0)
    assert ratio(timings["sum"].seconds, timings["nothing"].seconds).verdict == "faster"


@pytest.mark.parametrize("rounds", [6, 20, 60])
@pytest.mark.parametrize("sigma", [0.01, 0.1, 0.5])
def test_the_interval_covers_the_truth_as_often_as_it_says(rounds, sigma):
    rng = np.random.default_rng(rounds)
    truth, covered = 1.7, 0
    for _ in range(200):
        # What slows the machine down slows both; the rest each has alone.
        shared = np.exp(rng.normal(0.0, sigma, rounds))
        baseline = truth * shared * np.exp(rng.normal(0.0, sigma, rounds))
        found = ratio(baseline, shared * np.exp(rng.normal(0.0, sigma, rounds)))
        covered += found.low <= truth <= found.high
    assert covered >= 180  # 190 expected, standard deviation 3


def test_stopping_at_a_narrow_interval_does_not_make_it_a_lie(clock):
    # Rounds go on until the interval is narrow, which favours intervals narrow by chance.
    covered = 0
    for seed in range(100):
        durations = lognormal(seed, 0.01)
        baseline = Candidate(clock, [1.5 * d for d in durations[::2]])
        timings = timings_of(
            {"a": baseline, "b": Candidate(clock, durations[1::2])}, seconds=1e9, seed=seed
        )
        found = ratio(timings["a"].seconds, timings["b"].seconds)
        covered += found.low <= 1.5 <= found.high
    assert covered >= 88


@pytest.mark.parametrize("rounds", [6, 20, 60])
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
        (0.974, "slower"),
        (0.977, "same"),
        (1.0, "same"),
        (1.024, "same"),
        (1.026, "faster"),
        (2.0, "faster"),
    ],
)
def test_without_noise_the_verdict_is_the_ratio_with_half_of_five_percent_for_the_same(
    factor, verdict
):
    found = ratio([factor] * 6, [1.0] * 6)
    assert found[:3] == pytest.approx((factor, factor, factor))
    assert found.verdict == verdict


@pytest.mark.parametrize(
    ("low", "value", "high", "verdict"),
    [
        (0.98, 1.0, 1.02, "same"),
        (1.005, 1.01, 1.02, "same"),
        (0.96, 1.0, 1.04, "same"),
        (0.96, 1.0, 1.06, "unclear"),  # five percent are not ruled out
        (0.99, 1.03, 1.04, "unclear"),  # not ruled out either: the baseline may be as fast
        (1.01, 1.03, 1.5, "faster"),
        (1.01, 1.02, 1.5, "unclear"),
        (1.0, 1.03, 1.5, "unclear"),  # exactly as fast is not ruled out
        (0.9, 0.97, 1.0, "unclear"),
        (0.955, 0.97, 1.01, "unclear"),
        (0.8, 1.0, 1.02, "unclear"),
        (0.98, 1.0, 1.2, "unclear"),
        (0.5, 0.9, 0.99, "slower"),
        (0.8, 1.0, 1.2, "unclear"),
        (0.99, 1.2, 1.5, "unclear"),
        (0.5, 0.8, 1.01, "unclear"),
    ],
)
def test_the_verdict_is_of_the_whole_interval(low, value, high, verdict):
    found = ratio([low, low, value, value, high, high], [1.0] * 6)
    assert found[:3] == pytest.approx((value, low, high))
    assert found.verdict == verdict


@pytest.mark.parametrize(
    ("factor", "noise", "verdict"),
    [
        (1.04, 0.03, "faster"),
        (1.04, 0.045, "same"),
        (0.97, 0.02, "slower"),
        (0.97, 0.04, "same"),
        (1.08, 0.1, "unclear"),  # inside the noise, but so may a difference of five percent be
        (1.2, 0.1, "faster"),
    ],
)
def test_a_speedup_inside_the_noise_floor_is_none(factor, noise, verdict):
    assert ratio([factor] * 6, [1.0] * 6, noise).verdict == verdict


@given(st.floats(0.01, 100.0), st.integers(1, timer.LEAST_ROUNDS - 1))
def test_fewer_rounds_than_an_interval_takes_decide_nothing(factor, rounds):
    assert ratio([factor] * rounds, [1.0] * rounds).verdict == "unclear"


def test_rounds_that_repeat_the_last_one_widen_the_interval():
    # Spells of ten rounds in which one candidate is slower than the other: a ratio is told ten
    # times, and the interval of 400 such rounds must still hold the truth.
    rng = np.random.default_rng(0)
    covered, wider = 0, []
    for _ in range(200):
        fresh = np.exp(rng.normal(0.0, 0.1, 400))
        spells = np.repeat(np.exp(rng.normal(0.0, 0.1, 40)), 10)
        found = ratio(spells, np.ones(400))
        covered += found.low <= 1 <= found.high
        wider.append(math.log(found.high / found.low) / math.log(_width(fresh)))
    assert covered >= 176
    assert np.median(wider) > 2


def _width(paired):
    found = ratio(paired, np.ones(len(paired)))
    return found.high / found.low


@pytest.mark.parametrize(
    ("rounds", "rank"), [(6, 1), (8, 1), (9, 2), (11, 2), (12, 3), (15, 4), (18, 5), (19, 5)]
)
def test_the_interval_of_independent_rounds_has_the_ranks_of_the_tables(rounds, rank):
    # Those of a 95 percent interval of the median, by the normal approximation of the binomial.
    ordered = [2.0 + 0.1 * i for i in range(rounds)]
    # Below and above the middle by turns: no round is like the one before.
    half = rounds // 2
    mixed = [x for pair in zip(ordered[:half], ordered[::-1]) for x in pair]
    mixed += ordered[half : rounds - half]
    found = ratio(mixed, [1.0] * rounds)
    assert found.low == pytest.approx(ordered[rank - 1])
    assert found.high == pytest.approx(ordered[-rank])


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=6, max_size=60))
def test_alike_rounds_count_by_the_sum_of_autocorrelations_with_bartletts_weights(signs):
    # Newey and West (1987), from the definition.
    count, lags = len(signs), math.isqrt(len(signs))
    total = 0.0
    for lag in range(-lags, lags + 1):
        products = [signs[i] * signs[i - abs(lag)] for i in range(abs(lag), count)]
        total += (1 - abs(lag) / (lags + 1)) * (sum(products) / count if lag else 1.0)
    assert timer._inflation(np.array(signs)) == pytest.approx(max(1.0, total))


samples = st.integers(6, 12).flatmap(
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


@given(samples, st.floats(0.0, 0.5))
def test_whoever_is_faster_leaves_the_other_slower(pair, noise):
    opposite = {"faster": "slower", "slower": "faster"}
    there, back = ratio(*pair, noise), ratio(*pair[::-1], noise)
    assert (there.value, there.low, there.high) == pytest.approx(
        (1 / back.value, 1 / back.high, 1 / back.low)
    )
    assert back.verdict == opposite.get(there.verdict, there.verdict)


def test_the_baseline_is_timed_twice_among_the_others(clock):
    log = []
    found = compare({name: Candidate(clock, name=name, log=log) for name in "ab"}, seconds=0.0)
    assert found.again is not None
    assert len(found.again.seconds) == len(found.timings["a"].seconds) == 6
    assert list(found.timings) == ["a", "b"]
    timed = log[-18:]
    rounds = [timed[i : i + 3] for i in range(0, 18, 3)]
    assert all(sorted(order) == ["a", "a", "b"] for order in rounds)
    assert len({tuple(order) for order in rounds}) > 1


def test_the_second_run_of_the_baseline_is_not_checked_again(clock):
    seen = []
    compare(
        {name: Candidate(clock) for name in "ab"},
        seconds=0.0,
        check=lambda name, result: seen.append(name) or "",
    )
    assert sorted(seen) == ["a", "b"]


def test_a_baseline_that_fails_only_the_second_time_ends_the_comparison(clock):
    inner = Candidate(clock)

    def failing():
        if inner() == 4:
            raise ArithmeticError("baseline")

    with pytest.raises(ArithmeticError, match="baseline"):
        compare({"a": failing}, seconds=0.0)


def test_the_noise_floor_holds_what_the_baseline_gains_over_itself():
    steady = [1.0] * 10
    assert Comparison({"a": Timing(steady)}).noise == 0.0
    assert Comparison({"a": Timing([])}, Timing([])).noise == 0.0
    assert Comparison({"a": Timing(steady)}, Timing(steady)).noise == 0.0
    for gain in (0.9, 1.0, 1.1):
        for spread in (0.0, 0.05, 0.3):
            noisy = [gain * math.exp(spread * (-1) ** i) for i in range(10)]
            found = Comparison({"a": Timing(steady)}, Timing(noisy))
            farthest = max(spread, abs(math.log(gain)))
            assert math.log1p(found.noise) == pytest.approx(farthest)


def test_of_many_rounds_the_faster_of_two_neighbours_counts():
    few = ratio([1.0, 3.0] * 9, [1.0] * 18)
    assert (few.low, few.value, few.high) == pytest.approx((1.0, math.sqrt(3.0), 3.0))
    assert ratio([1.0, 3.0] * 10, [1.0] * 20)[:3] == (1.0, 1.0, 1.0)
    assert ratio([1.0, 3.0] * 10, [3.0, 1.0] * 10)[:3] == (1.0, 1.0, 1.0)
    # Neighbours are the same rounds of both, and an odd round is the first, which is left out.
    assert ratio([9.0] + [1.0, 3.0] * 10, [1.0] * 21)[:3] == (1.0, 1.0, 1.0)


def test_both_runs_of_the_baseline_tell_the_ratio():
    timings = {"a": Timing([1.1] * 10), "b": Timing([1.0] * 10)}
    assert Comparison(timings).ratio("b").value == pytest.approx(1.1)
    both = Comparison(timings, Timing([1.3] * 10)).ratio("b")
    assert (both.low, both.high) == pytest.approx((1.1, 1.3))
    assert both.value == pytest.approx(math.sqrt(1.1 * 1.3))


def test_a_comparison_uses_its_noise_floor():
    timings = {"a": Timing([1.08] * 10), "b": Timing([1.0] * 10)}
    assert Comparison(timings).ratio("b").verdict == "faster"
    noisy = Timing([1.0, 1.2] * 5)
    assert Comparison(timings, noisy).ratio("b").verdict == "unclear"


@pytest.mark.parametrize(
    ("seconds", "drift"),
    [
        ([], 0.0),
        ([1.0, 2.0], 0.0),
        ([1.0] * 9, 0.0),
        ([1.0, 1.0, 1.0, 5.0, 5.0, 5.0, 1.2, 1.2, 1.2], 0.2),
        ([1.2, 99.0, 1.2, 1.2, 1.0, 1.0, 0.01, 0.9, 0.9], -0.25),
    ],
)
def test_drift_is_how_much_slower_the_baseline_became(seconds, drift):
    assert Comparison({"a": Timing(seconds)}).drift == pytest.approx(drift)


def test_warm_up_goes_on_until_calls_get_no_faster(clock):
    ramp = [100.0, *(k * LONG for k in range(20, 0, -1))]
    candidate = Candidate(clock, ramp)
    timings = timings_of({"a": candidate}, seconds=1e3)
    assert set(timings["a"].seconds) == {ramp[-1]}
    assert candidate.calls == len(ramp) + timer.STEADY + timer.ENOUGH_ROUNDS


def test_warm_up_ends_though_calls_get_faster_for_ever(clock):
    candidate = Candidate(clock, [0.04 * 0.97**i for i in range(400)])
    timings = timings_of({"a": candidate}, seconds=1e3)
    assert candidate.calls == 1 + timer.MOST_WARM_UPS + len(timings["a"].seconds)


def test_warm_up_takes_a_share_of_the_budget(clock):
    starts = []

    def candidate():
        starts.append(clock.now)
        clock.now += 0.02 * 0.97 ** len(starts)

    compare({"a": candidate, "b": Candidate(clock)}, seconds=1.0, again=False, check=lambda *_: "")
    warm = [t for t in starts if t < 1.0 * timer.WARM_UP_SHARE / 2]
    assert 2 < len(warm) < 10


@pytest.mark.parametrize("seconds", [1.0, 4.0])
def test_candidates_share_the_time_for_warming_up(clock, seconds):
    log = []
    durations = [0.04 * 0.97**i for i in range(100)]
    candidates = {
        "a": Candidate(clock, durations, name="a", log=log),
        "b": Candidate(clock, name="b", log=log),
    }
    timings_of(candidates, seconds=seconds)
    # The first call is not counted; the one that reaches the end is the last.
    spent = np.cumsum(durations[1:])
    share = timer.WARM_UP_SHARE * seconds / 2
    assert log.index("b") == 1 + np.searchsorted(spent, share) + 1 < 1 + timer.MOST_WARM_UPS


@pytest.mark.parametrize("duration", [timer.LONG, 1.0])
def test_a_long_call_is_not_repeated_to_warm_up(clock, duration):
    candidate = Candidate(clock, (duration,))
    timings = timings_of({"a": candidate}, seconds=1e9)
    assert candidate.calls == 2 + len(timings["a"].seconds)


def test_what_comes_before_a_sample_is_not_timed_and_a_sample_is_then_one_call(clock):
    log = []

    def empty_caches():
        log.append("before")
        clock.now += 0.5

    cold = Candidate(clock, (SHORT,), name="cold", log=log)
    warm = Candidate(clock, (SHORT,), name="warm", log=log)
    timings = timings_of({"warm": warm, "cold": cold}, seconds=0.0, before={"cold": empty_caches})
    assert timings["cold"].seconds == timings["warm"].seconds == [SHORT] * 6
    assert cold.calls == 2 + 6
    assert warm.calls > cold.calls
    assert all(log[i - 1] == "before" for i, name in enumerate(log) if name == "cold")
    assert log.count("before") == cold.calls


def test_what_comes_before_the_baseline_comes_before_its_second_run_too(clock):
    log = []
    baseline = Candidate(clock, (SHORT,), name="a", log=log)
    compare({"a": baseline}, seconds=0.0, before={"a": lambda: log.append("before")})
    assert log == ["before", "a"] * (2 * (2 + 6))


def test_a_name_in_before_that_is_no_candidate_is_an_error():
    with pytest.raises(ValueError, match=r"before: cold: no such candidate; name one of a, b"):
        compare({"a": int, "b": int}, seconds=0.0, before={"a": int, "cold": int})
    with pytest.raises(ValueError, match=r"^before: c, d: no such candidate; name one of a, b$"):
        compare({"a": int, "b": int}, seconds=0.0, before={"d": int, "c": int})


def test_before_that_raises_is_a_fault_of_its_candidate(clock):
    def failing():
        raise OSError("no memory")

    timings = timings_of(
        {name: Candidate(clock) for name in "ab"}, seconds=0.0, before={"b": failing}
    )
    assert timings["b"].fault == "OSError: no memory"


def test_nothing_is_waited_for_where_nothing_spins(clock):
    looks = []
    clock.sleep = looks.append
    compare({"a": Candidate(clock)}, seconds=0.0, quiet=False)
    assert not looks
    compare({"a": Candidate(clock)}, seconds=0.0)
    assert looks


@pytest.mark.parametrize(
    ("spinning", "looks"),
    [
        (0.0, [1, 0]),
        (0.45 * timer.LOOK, [1, 0]),  # less than half of the look: something else was at work
        (0.55 * timer.LOOK, [2, 0]),
        (1.1 * timer.LOOK, [2, 0]),  # as OpenMP's threads, which disturb nobody for long
        (4.0 * timer.LOOK, [5, 5]),
        (1e9, [2 + timer.MOST_LOOKS, timer.MOST_LOOKS]),
    ],
)
def test_looks_are_as_many_as_it_takes(clock, spinning, looks):
    clock.used = 5.0  # what the process had used before
    seen = [0]

    def sleep(seconds):
        assert seconds == timer.LOOK
        seen[-1] += 1
        Clock.sleep(clock, seconds)

    def candidate():
        seen.append(0)
        clock.spinning = spinning
        clock.now += LONG

    clock.sleep = sleep
    timings_of({"a": candidate}, seconds=0.0)
    # Once it was warm, and in each round.
    assert [count for count in seen if count] == [
        count for count in (looks[0], *[looks[1]] * 6) if count
    ]


def rounds_where_the_slow_may_go(clock, slower, **options):
    """Compare candidates that take so many times as long as the baseline, with some noise."""
    durations = {name: lognormal(i, 0.05) for i, name in enumerate(("a", *slower))}
    candidates = {
        name: Candidate(clock, [slower.get(name, 1.0) * d for d in durations[name]])
        for name in durations
    }
    timings = compare(candidates, seconds=1.0, drop_slow=True, **options).timings
    return {name: len(timing.seconds) for name, timing in timings.items()}


def test_who_cannot_win_is_left_out_after_the_least_rounds(clock):
    rounds = rounds_where_the_slow_may_go(clock, {"slow": 2.0, "near": 1.3, "fast": 0.5})
    assert rounds["slow"] == timer.LEAST_ROUNDS
    assert rounds["a"] == rounds["near"] == rounds["fast"] >= timer.ENOUGH_ROUNDS


def test_the_baseline_is_never_left_out_nor_anyone_else_who_may_win(clock):
    rounds = rounds_where_the_slow_may_go(clock, {"fast": 0.1})
    assert rounds["a"] == rounds["fast"] >= timer.ENOUGH_ROUNDS


def test_nobody_is_left_out_whose_interval_reaches_up_to_what_may_win(clock):
    wild = Candidate(clock, [LONG, 9 * LONG] * 500)
    timings = timings_of({"a": Candidate(clock), "wild": wild}, seconds=1.0, drop_slow=True)
    assert len(timings["wild"].seconds) == len(timings["a"].seconds) > timer.LEAST_ROUNDS


def test_nobody_is_left_out_who_was_not_asked_to_go(clock):
    timings = timings_of(
        {"a": Candidate(clock), "slow": Candidate(clock, (4 * LONG,))}, seconds=1e9
    )
    assert len(timings["slow"].seconds) == len(timings["a"].seconds) == timer.ENOUGH_ROUNDS


def test_those_with_a_fault_are_not_asked_whether_they_may_win(clock):
    def check(name, result):
        return "wrong" if name == "wrong" else ""

    rounds = rounds_where_the_slow_may_go(clock, {"wrong": 4.0, "slow": 2.0}, check=check)
    assert (rounds["wrong"], rounds["slow"]) == (0, timer.LEAST_ROUNDS)


def test_beside_a_wrong_baseline_nobody_is_too_slow(clock):
    def check(name, result):
        return "wrong" if name == "a" else ""

    rounds = rounds_where_the_slow_may_go(clock, {"slow": 4.0}, check=check)
    assert rounds["a"] == 0
    assert rounds["slow"] > timer.LEAST_ROUNDS


def test_a_sample_may_be_shorter_or_longer(clock):
    for sample in (SHORT, 8 * SHORT, 2.0**-5):
        candidate = Candidate(clock, (SHORT,))
        timings_of({"a": candidate}, seconds=0.0, sample=sample)
        assert candidate.calls == 2 + 6 * sample / SHORT


class Machine:
    """Noise as two busy cores shared with others give it, by the time of the simulated clock.

    Measured with calls of `benchmarks/timer.py` that take a millisecond: the ratio of neighbouring
    calls is within 6 to 8 percent for half of them and beyond 50 percent for a tenth; the machine
    is a third slower for tens of milliseconds at a time; it becomes slower or faster as it runs.
    """

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        changes = np.cumsum(rng.exponential(0.05, 400))
        self.spells = changes.tolist()
        self.drift = rng.uniform(-0.1, 0.2)
        wide = rng.choice([0.05, 0.25, 0.8], p=[0.7, 0.15, 0.15], size=6000)
        self.noise = np.exp(np.abs(rng.normal(0.0, 1.0, wide.size)) * wide).tolist()
        self.calls = 0

    def factor(self, now):
        self.calls += 1
        slow = bisect.bisect(self.spells, now) % 2
        return (1.3 if slow else 1.0) * (1 + self.drift * now) * self.noise[self.calls % 6000]


def simulate(seed, truth, *, seconds=1.0, call=1e-3):
    """Compare two candidates of which the first takes `truth` times as long."""
    clock, machine = Clock(), Machine(seed)

    def candidate(duration):
        def run():
            clock.now += duration * machine.factor(clock.now)

        return run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timer, "time", clock)
        candidates = {"one": candidate(truth * call), "two": candidate(call)}
        return compare(candidates, seconds=seconds, seed=seed).ratio("two")


def test_a_baseline_is_the_same_as_itself_on_a_noisy_machine():
    verdicts = [simulate(seed, 1.0).verdict for seed in range(100)]
    assert verdicts.count("same") >= 0.95 * len(verdicts), collections.Counter(verdicts)


@pytest.mark.parametrize(("truth", "verdict"), [(1.05, "faster"), (1 / 1.05, "slower")])
def test_five_percent_are_found_on_a_noisy_machine(truth, verdict):
    verdicts = [simulate(seed, truth).verdict for seed in range(100)]
    assert verdicts.count(verdict) >= 0.9 * len(verdicts), collections.Counter(verdicts)


@pytest.mark.parametrize("seconds", [0.05, 0.3, 1.0])
def test_the_interval_holds_the_truth_on_a_noisy_machine(seconds):
    found = [simulate(seed, 1.3, seconds=seconds) for seed in range(100)]
    covered = sum(each.low <= 1.3 <= each.high for each in found)
    assert covered >= 0.88 * len(found)


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.1])
@pytest.mark.parametrize("truth", [1.0, 1.05])
def test_a_budget_too_small_to_decide_makes_no_winner_by_chance(seconds, truth):
    verdicts = collections.Counter(
        simulate(seed, truth, seconds=seconds).verdict for seed in range(200)
    )
    wrong = verdicts["slower"] + (verdicts["faster"] if truth == 1.0 else 0)
    assert wrong <= 5, verdicts
    assert verdicts["unclear"] > (180 if seconds < 0.1 else 20), verdicts
