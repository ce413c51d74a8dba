"""What several seeds say of a number, and of the difference between two systems. NumPy in, floats out."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 20_000


class Spread(NamedTuple):
    """Of a number over n seeds: its mean, standard deviation (n − 1; None for one seed), least and greatest."""

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
    sd = float(x.std(ddof=1)) if len(x) > 1 else None
    return Spread(len(x), float(x.mean()), sd, float(x.min()), float(x.max()))


class Difference(NamedTuple):
    """Of two systems over the n seeds that both have: the mean of a − b, and its 95% interval (None for few seeds)."""

    n: int
    mean: float
    interval: tuple[float, float] | None

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
    percentiles are too narrow by about √((n − 1)/n) and by Student's t over 1.96, which they are widened by.

    Raises:
      ValueError: for another number of seeds of one than of the other.
    """
    gaps = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    n = len(gaps)
    if n < 3:
        return Difference(n, float(gaps.mean()) if n else float("nan"), None)
    rng = np.random.default_rng(0)  # the same scores give the same interval
    means = gaps[rng.integers(n, size=(RESAMPLES, n))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    center, wider = gaps.mean(), np.sqrt(n / (n - 1)) * _student(n - 1) / 1.96
    return Difference(
        n, float(center), (float(center + wider * (low - center)), float(center + wider * (high - center)))
    )


def _student(degrees: int) -> float:
    """The 97.5% quantile of Student's t: Cornish and Fisher's expansion, Abramowitz & Stegun 26.7.5."""
    z = 1.959964
    g1 = (z**3 + z) / 4
    g2 = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    g3 = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + g1 / degrees + g2 / degrees**2 + g3 / degrees**3
