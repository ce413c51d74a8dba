"""Mixtures of Gaussians in the plane, in which mode collapse can be seen: points float32 [N, 2], drawn by a fixed seed.

They stay floats: 256 levels would be coarser than a mode. Each is the literature's, divided by a constant so that all
points lie within [−1, 1], as images do for nets; nothing in the scores depends on it.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from gan_jax.errors import UserError

SIZES = {"train": 50_000, "test": 10_000}
MARGIN = 10  # standard deviations of a mode between the outermost mean and 1


class Mixture(NamedTuple):
    """Gaussians of equal weight around `means` [K, 2], each with the standard deviation `sd` along both axes."""

    means: np.ndarray
    sd: float


def _within_one(means: np.ndarray, sd: float) -> Mixture:
    """The mixture at the scale at which all points lie within [−1, 1]."""
    most = float(np.abs(means).max()) + MARGIN * sd
    return Mixture(means / most, sd / most)


def _ring(modes: int, radius: float, sd: float) -> Mixture:
    angles = 2 * np.pi * np.arange(modes) / modes
    return _within_one(radius * np.stack([np.cos(angles), np.sin(angles)], 1), sd)


def _grid(side: int, spacing: float, sd: float) -> Mixture:
    places = spacing * (np.arange(side) - (side - 1) / 2)
    return _within_one(np.stack(np.meshgrid(places, places, indexing="ij"), -1).reshape(-1, 2), sd)


# A set that is entered here as well as in `DATASETS` can be judged, by its modes.
MIXTURES: dict[str, Mixture] = {
    "ring8": _ring(8, 2.0, 0.02),  # Metz 2017 (Unrolled GAN), appendix; Lin 2018 (PacGAN), at half the size
    "grid25": _grid(5, 2.0, 0.05),  # Lin 2018
}


def load_mixture(name: str, split: str, data_dir: str | Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Points float32 [N, 2] and the number of each one's mode, int32 [N].

    Raises:
      UserError: for a `data_dir`, since there are no files.
    """
    if data_dir is not None:
        raise UserError(f"--data_dir={data_dir} is for sets with original files: leave it out for '{name}'.")
    means, sd = MIXTURES[name]
    rng = np.random.default_rng([len(means), SIZES[split]])  # others in each split
    labels = rng.integers(len(means), size=SIZES[split])
    points = means[labels] + sd * rng.standard_normal((SIZES[split], 2))
    return points.astype(np.float32), labels.astype(np.int32)
