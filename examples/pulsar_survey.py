"""Search the beams of a pulsar survey, each a job of its own: dedisperse, transform, fold.

One core:     python examples/pulsar_survey.py
Every core:   python examples/pulsar_survey.py --backend joblib
A cluster:    BACKENDS_SCHEDULER=tcp://... python examples/pulsar_survey.py --backend dask
By the shell: seq 0 255 | xargs -P 2 -n 16 python examples/pulsar_survey.py --beam
"""

import argparse
import sys
from typing import NamedTuple

import numpy as np
from scipy.special import gammaincc

import backends

#: Observed frequencies in GHz, seconds between samples, samples searched.
CHANNELS, TICK, LENGTH = np.linspace(1.5, 1.2, 32), 1e-3, 2**14
#: Trial dispersion measures, in parsecs per cubic centimetre.
MEASURES = np.linspace(0.0, 200.0, 101)
#: Trial frequencies of pulses, in turns within the samples: 1 to 20 Hz, by an eighth of a turn.
TURNS = np.arange(8 * int(1 * LENGTH * TICK), 8 * int(20 * LENGTH * TICK)) / 8
HARMONICS = np.arange(1, 9)
#: Where the powers of harmonics (rows) of trial frequencies (columns) are.
PLACES = np.rint(np.outer(HARMONICS, TURNS)).astype(int)
#: Share of a turn that a pulse lasts, and its height over the noise of one channel.
WIDTH, HEIGHT = 0.06, 0.16
#: Chances that noise alone looks so, in one beam, below which something is there.
CHANCES = 1e-4


class Pulsar(NamedTuple):
    """What a beam has in it."""

    measure: float
    period: float


def delays(measure: float) -> np.ndarray:
    """Give how many samples later each channel hears a pulse than the first one does."""
    seconds = 4.148808e-3 * measure * (CHANNELS**-2.0 - CHANNELS[0] ** -2.0)
    return np.rint(seconds / TICK).astype(int)


def hidden(beam: int) -> Pulsar | None:
    """Give what is hidden in a beam: in every fourth, nothing."""
    rng = np.random.default_rng([1, beam])
    pulsar = Pulsar(rng.uniform(10.0, 190.0), 1.0 / rng.uniform(1.5, 15.0))
    return None if beam % 4 == 3 else pulsar


def observe(beam: int) -> np.ndarray:
    """Make what the telescope would record: channels (rows) of noise, with dispersed pulses."""
    rng = np.random.default_rng([2, beam])
    samples = LENGTH + delays(MEASURES[-1])[-1]
    data = rng.standard_normal((len(CHANNELS), samples), dtype=np.float32)
    if pulsar := hidden(beam):
        turns = np.arange(samples) * (TICK / pulsar.period) + rng.random()
        for channel, delay in zip(data, delays(pulsar.measure)):
            channel[(turns - delay * TICK / pulsar.period) % 1.0 < WIDTH] += HEIGHT
    return data


def dedisperse(data: np.ndarray, measure: float) -> np.ndarray:
    """Add the channels up, each as much earlier as it is late."""
    series = np.zeros(LENGTH, np.float32)
    for channel, delay in zip(data, delays(measure)):
        series += channel[delay : delay + LENGTH]
    return series


def most_unlikely(series: np.ndarray) -> tuple[float, float]:
    """Give the chance that noise alone looks as periodic, and at how many turns it does."""
    power = np.abs(np.fft.rfft(series)) ** 2 / (LENGTH * series.var())
    sums = np.cumsum(power[PLACES], axis=0)
    best = sums.argmax(axis=1)
    # Each power is exponentially distributed, where there is but noise; their sums as gamma.
    chances = gammaincc(HARMONICS, sums[HARMONICS - 1, best])
    return float(chances.min()), float(TURNS[best[chances.argmin()]])


def fold(series: np.ndarray, turns: float, bins: int = 50) -> np.ndarray:
    """Add up what falls on the same part of a turn."""
    part = (np.arange(LENGTH) * (turns * bins / LENGTH)).astype(int) % bins
    return np.bincount(part, series - series.mean(), bins)


def search(beam: int) -> Pulsar | None:
    """Look for a pulsar in one beam."""
    data = observe(beam)
    chance, measure, turns = 1.0, 0.0, 0.0
    for trial in MEASURES:
        found = most_unlikely(dedisperse(data, trial))
        if found[0] < chance:
            (chance, turns), measure = found, trial
    if chance * len(MEASURES) * len(TURNS) * len(HARMONICS) > CHANCES:
        return None
    series = dedisperse(data, measure)
    finer = turns + np.arange(-16, 17) / 32
    best = max(finer, key=lambda trial: float(np.square(fold(series, trial)).sum()))
    return Pulsar(float(measure), float(LENGTH * TICK / best))


def right(beam: int, found: Pulsar | None) -> bool:
    """Tell whether what was found is what is there: in phase, and its channels aligned."""
    pulsar = hidden(beam)
    if pulsar is None or found is None:
        return pulsar is found
    out_of_phase = abs(LENGTH * TICK / found.period - LENGTH * TICK / pulsar.period)
    out_of_line = abs(delays(found.measure)[-1] - delays(pulsar.measure)[-1]) * TICK
    return bool(out_of_phase < 0.1 and out_of_line < WIDTH * pulsar.period + 2 * TICK)


def main() -> int:
    """Search the beams, and look whether what was hidden is found, and nothing else."""
    parser = argparse.ArgumentParser(description="a pulsar survey")
    parser.add_argument("--beams", type=int, default=256, help="how many")
    parser.add_argument("--beam", type=int, nargs="+", help="these only")
    parser.add_argument("--backend", default="numpy", help="threads, joblib, dask, mpi or ray")
    parser.add_argument("--n-jobs", type=int, default=-1)
    parser.add_argument("--checkpoint", help="a folder; what is in it is not searched again")
    arguments = parser.parse_args()

    beams = arguments.beam or range(arguments.beams)
    results = backends.map(
        search,
        beams,
        backend=arguments.backend,
        n_jobs=arguments.n_jobs,
        checkpoint=arguments.checkpoint,
    )
    good = True
    for beam, found in zip(beams, results):
        text = f"DM {found.measure:6.2f}, period {found.period:.5f} s" if found else "nothing"
        print(f"beam {beam}: {text}", flush=True)
        good &= right(beam, found)
    print("what was hidden is found, and nothing else:", "yes" if good else "NO")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
