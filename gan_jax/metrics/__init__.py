"""Metrics of samples: features or class probabilities in (NumPy), Python floats out; one file a family."""

from gan_jax.metrics.frechet import Moments, frechet_distance, frechet_from_moments, moments
from gan_jax.metrics.inception_score import inception_score
from gan_jax.metrics.kernel import kernel_distance, kernel_distance_subsets
from gan_jax.metrics.manifold import density_coverage, precision_recall
from gan_jax.metrics.modes import (
    ModeScores,
    class_balance,
    class_histogram,
    mode_count,
    mode_kl,
    mode_scores,
)

__all__ = [
    "ModeScores",
    "Moments",
    "class_balance",
    "class_histogram",
    "density_coverage",
    "frechet_distance",
    "frechet_from_moments",
    "inception_score",
    "kernel_distance",
    "kernel_distance_subsets",
    "mode_count",
    "mode_kl",
    "mode_scores",
    "moments",
    "precision_recall",
]
