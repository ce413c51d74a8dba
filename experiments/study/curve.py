"""The expected best score of a budget of settings. NumPy in, NumPy out."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Curve(NamedTuple):
    """Of the least of k scores, for k from 1 to n: its mean [n], and the 2.5% and 97.5% quantiles [n]."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def best_of(scores: Sequence[float]) -> Curve:
    """The bootstrap distribution of the best (least) of k of these n scores, drawn with replacement: Lucic 2018, §6.

    They resample; here its limit of infinitely many resamples is computed. The least of k is at most the i-th least
    score with probability 1 − (1 − i/n)^k.

    Raises:
      ValueError: without scores, or for one that is not finite.
    """
    x = np.sort(np.asarray(scores, np.float64))
    n = len(x)
    if not n or not np.isfinite(x).all():
        raise ValueError("the curve needs scores, all of them finite")
    k = np.arange(1, n + 1)[:, None]
    at_most = 1 - (1 - np.arange(1, n + 1) / n) ** k  # [k, i]
    mean = np.diff(at_most, prepend=0.0, axis=1) @ x
    # Where a probability and a quantile are the same number, rounding must not take the next score.
    low, high = (x[np.argmax(at_most >= q - 1e-12, axis=1)] for q in (0.025, 0.975))
    return Curve(mean, low, high)
