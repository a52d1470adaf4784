"""Statistics of latencies that were taken in rounds: plain numpy, every draw from a seed.

Calls of one round share the machine's state of that moment (clock speed, neighbours, cache), so
they are no independent samples. Every interval here resamples whole rounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]

# Fewest samples for which a high percentile is quoted.
MIN_SAMPLES = {90: 64, 95: 128, 99: 662}
RESAMPLES = 2000
CONFIDENCE = 0.95
# Pooled samples are sorted into at most so many bins of equal count, which keeps an interval
# under 100 ms; with fewer samples than that the medians are exact.
BINS = 1024
# hyperfine's rule: a modified z-score (distance from the median in scaled median absolute
# deviations) beyond this is an outlier.
OUTLIER_SCORE = 14.826


def percentile(samples: Samples, q: int) -> float | None:
    """Return the ``q``-th percentile, or None where there are too few samples to quote it."""
    if len(samples) < MIN_SAMPLES.get(q, 1):
        return None
    return float(np.percentile(samples, q))


def outlier_share(samples: Samples) -> float:
    """Return the share (0 to 1) of samples that lie far from the median."""
    distance = np.abs(samples - np.median(samples))
    scale = 1.4826 * float(np.median(distance))
    if scale == 0.0:
        return 0.0
    return float(np.mean(distance / scale > OUTLIER_SCORE))


def median_interval(
    rounds: Sequence[Samples], *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval on the median of the pooled samples of ``rounds``.

    Raises:
        ValueError: if there are fewer than two rounds, or an empty one.
    """
    _check(rounds)
    medians = _resampled_percentiles(rounds, _weights(len(rounds), seed, resamples), 50)
    return _interval(medians, len(rounds))


def ratio(
    over: Sequence[Samples],
    under: Sequence[Samples],
    *,
    q: int = 50,
    paired: bool = True,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[float, tuple[float, float]]:
    """Return the ratio of the ``q``-th percentiles of ``over`` and ``under``, and its interval.

    Where round k of both was measured side by side (``paired``), the two are drawn together: what
    slowed a whole round down cancels out. Rounds of two separate runs are drawn apart, and the
    interval is widened for what lasted several rounds (see :func:`_widening`).

    Raises:
        ValueError: if there are fewer than two rounds, or an empty one, or if paired rounds are
            not of equal number.
    """
    _check(over)
    _check(under)
    if paired:
        _check_pairs(over, under)
    over_weights = _weights(len(over), seed, resamples)
    under_weights = over_weights if paired else _weights(len(under), seed + 1, resamples)
    ratios = _resampled_percentiles(over, over_weights, q) / _resampled_percentiles(
        under, under_weights, q
    )
    point = float(np.percentile(np.concatenate(over), q) / np.percentile(np.concatenate(under), q))
    low, high = _interval(ratios, min(len(over), len(under)))
    if paired:
        return point, (low, high)
    widening = max(_widening(over, q), _widening(under, q))
    return point, (point * (low / point) ** widening, point * (high / point) ** widening)


def round_by_round_ratio(
    over: Sequence[Samples], under: Sequence[Samples], *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, tuple[float, float]]:
    """Return the median over rounds of the ratio of their medians, and its interval.

    For rounds that were measured side by side. Where another program runs half of the time,
    pooled latencies have two humps and their median lies between them; the ratio within a round
    does not care on which hump the round was.

    Raises:
        ValueError: as :func:`ratio` with paired rounds.
    """
    _check(over)
    _check(under)
    _check_pairs(over, under)
    ratios = np.array(
        [np.median(a) / np.median(b) for a, b in zip(over, under, strict=True)], dtype=np.float64
    )
    drawn = np.random.default_rng(seed).integers(0, len(ratios), (resamples, len(ratios)))
    return float(np.median(ratios)), _interval(np.median(ratios[drawn], axis=1), len(ratios))


def _check_pairs(over: Sequence[Samples], under: Sequence[Samples]) -> None:
    if len(over) != len(under):
        raise ValueError(f"{len(over)} rounds of the one, {len(under)} of the other")


def _widening(rounds: Sequence[Samples], q: int) -> float:
    """Return by how much rounds that resemble their neighbours widen an interval.

    Of n values with lag-1 autocorrelation r, only n (1 - r) / (1 + r) count (Bayley and
    Hammersley 1946, for an AR(1) process); r is corrected for its bias in short series
    (Marriott and Pope 1954).
    """
    levels = np.log([np.percentile(samples, q) for samples in rounds])
    levels -= levels.mean()
    variance = float(levels @ levels)
    if variance == 0.0:
        return 1.0
    found = float(levels[1:] @ levels[:-1]) / variance
    found += (1 + 3 * found) / len(levels)
    found = min(max(found, 0.0), 0.95)
    return math.sqrt((1 + found) / (1 - found))


def _check(rounds: Sequence[Samples]) -> None:
    if len(rounds) < 2 or any(len(samples) == 0 for samples in rounds):
        raise ValueError("an interval needs at least two rounds with a sample in each")


def _weights(rounds: int, seed: int, resamples: int) -> Samples:
    """Draw how often each round stands in each resample, shape ``(resamples, rounds)``."""
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(rounds, np.full(rounds, 1 / rounds), size=resamples)
    return counts.astype(np.float64)


def _resampled_percentiles(rounds: Sequence[Samples], weights: Samples, q: int) -> Samples:
    """Return the ``q``-th percentile of every resample, shape ``(resamples,)``.

    Instead of concatenating rounds again and again, count each round's samples per bin of the
    sorted pool once; a resample's counts are then a weighted sum of these.
    """
    pool = np.sort(np.concatenate(rounds))
    edges = np.unique(np.linspace(0, len(pool), min(BINS, len(pool)) + 1).astype(np.int64))
    middles = (edges[:-1] + edges[1:] - 1) / 2
    values = (
        pool[np.floor(middles).astype(np.int64)] + pool[np.ceil(middles).astype(np.int64)]
    ) / 2
    # Equal values must fall into one bin, whatever round they came from.
    values, bin_of = np.unique(values, return_inverse=True)
    histograms = np.zeros((len(rounds), len(values)))
    for row, samples in zip(histograms, rounds, strict=True):
        position = np.searchsorted(pool, samples, side="left")
        bins = bin_of[np.searchsorted(edges, position, side="right") - 1]
        row += np.bincount(bins, minlength=len(values))
    cumulated = np.cumsum(weights @ histograms, axis=1)
    share = cumulated[:, -1:] * (q / 100)
    lower = values[np.argmax(cumulated >= share, axis=1)]
    upper = values[np.argmax(cumulated > share, axis=1)]
    percentiles: Samples = (lower + upper) / 2
    return percentiles


def _interval(resampled: Samples, rounds: int) -> tuple[float, float]:
    """Return the expanded percentile interval.

    The plain percentile interval is too narrow for few blocks; Hesterberg (What Teachers Should
    Know About the Bootstrap, 2015) widens it by the t quantile and the variance's n / (n - 1).
    """
    tail = (1 - CONFIDENCE) / 2
    spread = math.sqrt(rounds / (rounds - 1)) * _t_quantile(1 - tail, rounds - 1)
    tail = NormalDist().cdf(-spread)
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)


def _t_quantile(probability: float, freedom: int) -> float:
    """Return a quantile of Student's t by the Cornish-Fisher expansion, 1 % off at 4 degrees."""
    z = NormalDist().inv_cdf(probability)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
