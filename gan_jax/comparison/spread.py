"""What several seeds say of a number, and of the difference between two systems. NumPy in, floats out."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 20_000


class Spread(NamedTuple):
    """Of a number over n seeds: its mean, standard deviation, least and greatest.

    sd: with n − 1; None for one seed, or where a value is infinite.
    """

    n: int
    mean: float
    sd: float | None
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread | None:
    """The spread of one value a seed; None without any."""
    if not len(values):
        return None
    x = np.asarray(values, np.float64)
    sd = float(x.std(ddof=1)) if len(x) > 1 and np.isfinite(x).all() else None
    return Spread(len(x), float(x.mean()), sd, float(x.min()), float(x.max()))


class Difference(NamedTuple):
    """Of two systems over the n seeds that both have: the mean of a − b, and its 95% interval, None for few seeds.

    mean: None for none. p: of Student's paired test that there is no difference, 1 for few seeds.
    """

    n: int
    mean: float | None
    interval: tuple[float, float] | None
    p: float

    @property
    def sign(self) -> int:
        """−1 or 1 where the interval leaves out 0, else 0: then the seeds do not tell the two apart."""
        if self.interval is None:
            return 0
        low, high = self.interval
        return -1 if high < 0 else 1 if low > 0 else 0


def difference(a: Sequence[float], b: Sequence[float]) -> Difference:
    """A paired bootstrap of the mean of a − b: Efron & Tibshirani 1993, §13.3, percentiles.

    Seed i of one system is paired with seed i of the other: they saw the same noise and batches. Of n seeds the
    percentiles are too narrow by about √((n − 1)/n) and by Student's t over the normal quantile, which they are widened
    by. The p-value is Student's: the means of so few seeds have no bootstrap quantiles beyond the usual ones.

    Raises:
      ValueError: for another number of seeds of one than of the other.
    """
    from scipy.stats import norm, t  # half a second, for a report alone

    gaps = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    n = len(gaps)
    if n < 3:
        return Difference(n, float(gaps.mean()) if n else None, None, 1.0)
    rng = np.random.default_rng(0)  # the same scores give the same interval
    means = gaps[rng.integers(n, size=(RESAMPLES, n))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    center, wider = gaps.mean(), np.sqrt(n / (n - 1)) * t.ppf(0.975, n - 1) / norm.ppf(0.975)
    interval = float(center + wider * (low - center)), float(center + wider * (high - center))
    error = gaps.std(ddof=1) / np.sqrt(n)
    p = 2 * t.sf(abs(center) / error, n - 1) if error else float(not center)
    return Difference(n, float(center), interval, float(p))


def told_apart(found: Sequence[Difference]) -> list[bool]:
    """Which of these differences are there, if at most one family in twenty may hold a false one: Holm 1979.

    Of many pairs of equal systems some have intervals without 0 by chance. These are those that stay when all pairs are
    looked at together. Of a single one its interval decides.
    """
    there = [False] * len(found)
    for rank, i in enumerate(sorted(range(len(found)), key=lambda i: found[i].p)):
        if len(found) > 1 and found[i].p > 0.05 / (len(found) - rank):
            break
        there[i] = found[i].sign != 0
    return there
