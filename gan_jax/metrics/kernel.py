"""Kernel distance (KID): an unbiased squared maximum mean discrepancy (lower is better)."""

import numpy as np

from gan_jax.errors import UserError
from gan_jax.metrics.blocks import over_blocks
from gan_jax.metrics.memory import remembered
from gan_jax.metrics.validation import checked_pair


def _kernel_sum(a: np.ndarray, b: np.ndarray) -> float:
    """Sum over all pairs of k(a, b) = (a·b/d + 1)³."""

    def part(rows: slice) -> float:
        base = a[rows] / a.shape[1] @ b.T
        base += 1.0
        return float(np.einsum("nm,nm,nm->", base, base, base))

    return sum(over_blocks(part, len(a)))


@remembered
def _self_kernel_mean(a: np.ndarray) -> float:
    """Mean of k over the pairs of different rows; a row with itself would bias it."""
    n = len(a)
    diagonal = (np.einsum("nd,nd->n", a, a) / a.shape[1] + 1.0) ** 3
    return (_kernel_sum(a, a) - float(diagonal.sum())) / (n * (n - 1))


def _distance(real: np.ndarray, fake: np.ndarray) -> float:
    cross = _kernel_sum(real, fake) / (len(real) * len(fake))
    return _self_kernel_mean(real) + _self_kernel_mean(fake) - 2 * cross


def kernel_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """Unbiased MMD² between the features real [n, d] and fake [m, d] with k(a, b) = (a·b/d + 1)³.

    Bińkowski 2018, eq. 4 and §4. Symmetric; 0 in expectation for equal distributions, so it may be a little
    below 0, and for one set against itself it is below 0.

    Raises:
      UserError: for other than finite [n, d] and [m, d] with n, m ≥ 2.
    """
    return _distance(*checked_pair(real, fake, 2, "the unbiased estimate needs pairs"))


def kernel_distance_subsets(
    real: np.ndarray, fake: np.ndarray, subsets: int = 10, seed: int = 0
) -> tuple[float, float]:
    """Mean and standard error of the kernel distance over disjoint random subsets of both sets.

    The usual protocol draws its subsets with replacement, so that they share samples and their spread says
    little; disjoint ones are independent, and mean ± se is an honest interval. Its mean has the same
    expectation as `kernel_distance`, which uses all pairs and so varies less.

    Raises:
      UserError: for other than finite [n, d] and [m, d] with n, m ≥ 2·subsets, or fewer than 2 subsets.
    """
    if subsets < 2:
        raise UserError(f"subsets must be at least 2 for a standard error, not {subsets}.")
    real, fake = checked_pair(real, fake, 2 * subsets, f"two for each of {subsets} subsets")
    rng = np.random.default_rng(seed)
    parts = [np.array_split(rng.permutation(x), subsets) for x in (real, fake)]
    scores = [_distance(*pair) for pair in zip(*parts, strict=True)]
    return float(np.mean(scores)), float(np.std(scores, ddof=1) / np.sqrt(subsets))
