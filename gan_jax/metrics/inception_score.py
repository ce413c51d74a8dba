"""Inception score: are samples recognisable, and of all classes (higher is better)?"""

from itertools import pairwise

import numpy as np

from gan_jax.errors import UserError
from gan_jax.metrics.validation import checked


def _score(p: np.ndarray) -> float:
    """exp E KL(p(y|x) ‖ p(y)) of probabilities [n, classes]; 0·log 0 = 0."""
    marginal = p.mean(axis=0, keepdims=True)
    log_p = np.log(np.where(p > 0, p, 1.0))
    log_marginal = np.log(np.where(marginal > 0, marginal, 1.0))
    return float(np.exp((p * (log_p - log_marginal)).sum(axis=1).mean()))


def inception_score(probabilities: np.ndarray, splits: int = 10) -> tuple[float, float]:
    """Mean and standard deviation over consecutive splits of exp E KL(p(y|x) ‖ p(y)) (Salimans 2016, §4).

    Between 1 and the number of classes. With a digit classifier its ceiling is 10, and it is not "the"
    Inception score, which takes Inception v3's probabilities. The order of the samples decides what falls
    into which split, so the mean depends on it unless `splits` is 1.

    Args:
      probabilities: [n, classes], each row summing to 1.
      splits: how many parts; the deviation is theirs as in the original program, divided by `splits`.

    Raises:
      UserError: for other than finite probabilities, or fewer than `splits` of them.
    """
    if splits < 1:
        raise UserError(f"splits must be at least 1, not {splits}.")
    p = checked("probabilities", probabilities, splits, "one for each split")
    if p.min() < 0 or np.abs(p.sum(axis=1) - 1).max() > 1e-3:
        raise UserError("probabilities must be at least 0 and sum to 1 in each row: were they logits?")
    bounds = [i * len(p) // splits for i in range(splits + 1)]
    scores = [_score(p[a:b]) for a, b in pairwise(bounds)]
    return float(np.mean(scores)), float(np.std(scores))
