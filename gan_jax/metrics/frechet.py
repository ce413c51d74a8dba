"""Fréchet distance: how far apart two sets of features are, seen as Gaussians (lower is better)."""

from typing import NamedTuple

import numpy as np

from gan_jax.errors import UserError
from gan_jax.metrics.validation import checked, checked_pair


class Moments(NamedTuple):
    """Mean [d] and unbiased covariance [d, d] of a set of features, in float64."""

    mean: np.ndarray
    covariance: np.ndarray


def _needed(features: np.ndarray) -> tuple[int, str]:
    width = np.shape(features)[-1] if np.ndim(features) == 2 else 0
    return width + 1, f"one more than the {width} features, or the covariance is singular"


def moments(features: np.ndarray) -> Moments:
    """Mean and unbiased covariance of features [n, d]: all of a data set that the distance needs.

    Raises:
      UserError: for other than finite [n, d], or n ≤ d.
    """
    features = checked("features", features, *_needed(features))
    return Moments(features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False)))


def _root(covariance: np.ndarray) -> np.ndarray:
    """Symmetric square root; eigenvalues that rounding put below zero are zero."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def frechet_from_moments(real: Moments, fake: Moments) -> float:
    """Fréchet distance of two Gaussians, |μ₁−μ₂|² + tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½).

    The last trace is the sum of the square roots of the eigenvalues of Σ₁^½ Σ₂ Σ₁^½, and those are the
    singular values of Σ₁^½ Σ₂^½. A matrix root of Σ₁Σ₂, which is not symmetric, comes out complex or NaN
    instead; and the eigenvalues themselves would be known to half as many digits as the singular values are.

    Raises:
      UserError: where the widths differ.
    """
    if real.mean.shape != fake.mean.shape:
        raise UserError(
            f"moments of {len(real.mean)} and {len(fake.mean)} features: use one network for both."
        )
    cross = np.linalg.svd(_root(real.covariance) @ _root(fake.covariance), compute_uv=False).sum()
    traces = np.trace(real.covariance) + np.trace(fake.covariance)
    return float(np.sum((real.mean - fake.mean) ** 2) + traces - 2 * cross)


def frechet_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """Fréchet distance between the features real [n, d] and fake [m, d] (Heusel 2017, eq. 6).

    Symmetric. Where it is 0 rounding may leave some 1e-14 of the covariances' traces, of either sign. Biased:
    fewer samples score worse, so compare only scores of the same n and m.

    Raises:
      UserError: for other than finite [n, d] and [m, d] with n, m > d.
    """
    real, fake = checked_pair(real, fake, *_needed(real))
    return frechet_from_moments(moments(real), moments(fake))
