"""k-NN manifolds: precision and recall, density and coverage (all higher is better).

A set's manifold is the union of balls around its samples, each reaching to its centre's k-th nearest
neighbour in the same set. A ball holds what is nearer than its radius, and its centre: so, as in the
reference programs, the k-th neighbour itself is outside, yet duplicates, whose radius is 0, do not lose
themselves.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from gan_jax.errors import UserError
from gan_jax.metrics.blocks import over_blocks
from gan_jax.metrics.memory import remembered
from gan_jax.metrics.validation import checked_pair

PAIRS = 100_000  # pairs recomputed at once


def _exact(a: np.ndarray, b: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """|a[row] − b[column]|² for each pair, without cancellation."""
    parts = [slice(i, i + PAIRS) for i in range(0, len(rows), PAIRS)]
    return np.concatenate([((a[rows[s]] - b[columns[s]]) ** 2).sum(axis=1) for s in parts] or [np.zeros(0)])


def _distances(a: np.ndarray, b: np.ndarray) -> Callable[[slice], tuple[np.ndarray, float]]:
    """A function of rows of a that gives (their squared distances to all of b, how wrong these may be).

    |a|² + |b|² − 2a·b is one matrix product, but loses all digits where a is near b: less so around a common
    centre, yet whoever compares the distances must recompute those that are within the bound of the other
    side.
    """
    centre = b.mean(axis=0)
    a, b = a - centre, b - centre
    a_norms, b_norms = (np.einsum("nd,nd->n", x, x)[:, None] for x in (a, b))
    # The norms as two more columns: a pass over the products would take longer than making them.
    left = np.concatenate([-2 * a, a_norms, np.ones_like(a_norms)], axis=1)
    right = np.concatenate([b, np.ones_like(b_norms), b_norms], axis=1).T
    epsilon = 4 * (a.shape[1] + 4) * np.finfo(np.float64).eps
    return lambda rows: (left[rows] @ right, float(epsilon * (a_norms[rows].max() + b_norms.max())))


@remembered
def _squared_radii(points: np.ndarray, k: int) -> np.ndarray:
    """Squared distance [n] of each point to its k-th nearest other point."""
    distances = _distances(points, points)

    def radii(rows: slice) -> np.ndarray:
        squared, _ = distances(rows)
        index = np.arange(rows.start, rows.stop)
        squared[index - rows.start, index] = np.inf
        # The k-th value and where it is undercut: half of the time that argpartition takes. Among equal
        # distances any k will do.
        kth = np.partition(squared, k - 1, axis=1)[:, k - 1 : k]
        point, near = np.nonzero(squared <= kth)
        chosen = np.searchsorted(point, np.arange(len(squared)))[:, None] + np.arange(k)[None]
        exact = _exact(points, points, np.repeat(index, k), near[chosen].ravel())
        return exact.reshape(-1, k).max(axis=1)

    return np.concatenate(list(over_blocks(radii, len(points))))


def _membership(points: np.ndarray, centres: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """How many of the centres' balls hold each point [m], and whether each ball holds a point [n]."""
    radii = _squared_radii(centres, k)
    distances = _distances(points, centres)

    def count(rows: slice) -> tuple[np.ndarray, Any]:
        squared, error = distances(rows)
        inside = squared < radii - error
        point, centre = np.nonzero(inside ^ (squared <= radii + error))
        exact = _exact(points, centres, point + rows.start, centre)
        inside[point, centre] = (exact < radii[centre]) | (exact == 0)
        return inside.sum(axis=1), inside.any(axis=0)

    balls, occupied = zip(*over_blocks(count, len(points)), strict=True)
    return np.concatenate(balls), np.any(occupied, axis=0)


def _checked(real: np.ndarray, fake: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    if k < 1:
        raise UserError(f"k must be at least 1, not {k}.")
    return checked_pair(real, fake, k + 1, f"a sample and its {k} nearest neighbours")


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = 3) -> tuple[float, float]:
    """Precision, the share of fakes in the reals' manifold, and recall, of reals in the fakes'.

    Kynkäänniemi 2019, eq. 2 and 3. Not symmetric: swapping the arguments swaps the two.

    Raises:
      UserError: for other than finite real [n, d] and fake [m, d] with n, m > k.
    """
    real, fake = _checked(real, fake, k)
    precision = np.mean(_membership(fake, real, k)[0] > 0)
    recall = np.mean(_membership(real, fake, k)[0] > 0)
    return float(precision), float(recall)


def density_coverage(real: np.ndarray, fake: np.ndarray, k: int = 5) -> tuple[float, float]:
    """Density, in how many reals' balls a fake lies, over k, and coverage, the share of balls with a fake.

    Naeem 2020, eq. 3 and 4. Not symmetric: only the reals have balls. Density may exceed 1.

    Raises:
      UserError: for other than finite real [n, d] and fake [m, d] with n, m > k.
    """
    real, fake = _checked(real, fake, k)
    balls, occupied = _membership(fake, real, k)
    # In this order of operations the reference program (prdc) gives the same bits.
    return float(1 / k * balls.mean()), float(occupied.mean())
