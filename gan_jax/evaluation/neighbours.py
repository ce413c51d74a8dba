"""Nearest neighbours among the training images: does a generator recite them?"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from gan_jax.errors import UserError

NEIGHBOURS = 200  # samples, and test images, whose nearest training image is looked for
BLOCK = 5000  # points compared with all queries at once


class Nearest(NamedTuple):
    """The index [n] of the point nearest to each query, and their Euclidean distances [n]."""

    indices: np.ndarray
    distances: np.ndarray


def nearest_points(
    queries: np.ndarray, points: np.ndarray, progress: Callable[[Iterable], Iterable] = iter
) -> Nearest:
    """The nearest of points [m, d] to each of the queries [n, d]: all of them compared, in float64.

    Raises:
      UserError: for other shapes.
    """
    if queries.ndim != 2 or points.ndim != 2 or queries.shape[1] != points.shape[1] or len(points) == 0:
        raise UserError(f"queries {queries.shape} and points {points.shape} must be [n, d] and [m, d].")
    queries = queries.astype(np.float64)
    indices = np.zeros(len(queries), np.int64)
    best = np.full(len(queries), np.inf)
    for start in progress(range(0, len(points), BLOCK)):
        block = points[start : start + BLOCK].astype(np.float64)
        # Less |query|², which is the same for all points.
        squared = np.einsum("md,md->m", block, block)[None] - 2 * queries @ block.T
        found = squared.argmin(axis=1)
        value = np.take_along_axis(squared, found[:, None], axis=1)[:, 0]
        closer = value < best
        indices[closer], best[closer] = found[closer] + start, value[closer]
    # Anew from the difference: the sum above has lost the digits of a distance near 0, the one of interest.
    return Nearest(indices, np.linalg.norm(queries - points[indices], axis=1))
