"""Class balance and mode count: which classes a generator has forgotten."""

import numpy as np

from gan_jax.errors import UserError


def class_histogram(labels: np.ndarray, classes: int) -> np.ndarray:
    """Share [classes] of each class among integer labels [n].

    Raises:
      UserError: for no labels, labels that are not integers or outside 0..classes-1.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or len(labels) == 0 or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"labels must be integers [n] with n ≥ 1, not {labels.dtype} {labels.shape}.")
    if labels.min() < 0 or labels.max() >= classes:
        raise UserError(f"labels must be in 0..{classes - 1}, not {labels.min()}..{labels.max()}.")
    return np.bincount(labels, minlength=classes) / len(labels)


def class_balance(real_labels: np.ndarray, fake_labels: np.ndarray, classes: int = 10) -> float:
    """KL divergence in nats of the fakes' class histogram from the reals', KL(fake ‖ real); lower is better.

    0 where both have the same shares. Not symmetric. Infinite where the reals lack a class that the fakes
    have. For stacked MNIST's KL to uniform give `np.arange(1000)` as the real labels (Lin 2018, §4.1).

    Raises:
      UserError: as `class_histogram`.
    """
    real, fake = class_histogram(real_labels, classes), class_histogram(fake_labels, classes)
    present = fake > 0
    if (real[present] == 0).any():
        return float("inf")
    return float(np.sum(fake[present] * np.log(fake[present] / real[present])))


def mode_count(labels: np.ndarray) -> int:
    """How many different labels [n] there are: of stacked MNIST's 1,000, the modes found (Lin 2018)."""
    return len(np.unique(labels))
