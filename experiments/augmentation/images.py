"""Which real images a classifier and its GAN learn from, and how they are mixed with generated ones."""

import numpy as np


def balanced(labels: np.ndarray, num: int, seed: int) -> np.ndarray:
    """Which `num` of the images to take: at random, and of each class as many as of the others, as far as there are.

    labels: whole numbers [N], N ≥ num. A smaller choice with the same seed is part of a larger one.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    counts: dict[int, int] = {}
    rank = np.empty(len(labels), np.int64)  # the how-maniest of its class each one is
    for i in order:
        rank[i] = counts[labels[i]] = counts.get(labels[i], 0) + 1
    return order[np.argsort(rank[order], kind="stable")][:num]


def mixed(real: np.ndarray, generated: np.ndarray) -> np.ndarray:
    """Both as one array, the fewer repeated, so that half of what is drawn from it is real."""
    num = max(len(real), len(generated))
    return np.concatenate([x[np.arange(num) % len(x)] for x in (real, generated)])
