"""The scores of a set of samples: which metrics there are, and what is reported with each.

To add one, write a function of the reals and the fakes, as seen by a feature network, and enter it in
`FAMILIES`; the command line, the tables and the files then have it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gan_jax.features import classifier as features
from gan_jax.metrics.frechet import frechet_distance
from gan_jax.metrics.inception_score import inception_score
from gan_jax.metrics.kernel import kernel_distance, kernel_distance_subsets
from gan_jax.metrics.manifold import density_coverage, precision_recall
from gan_jax.metrics.modes import class_balance, mode_count

LOWER, HIGHER = "lower", "higher"


class Seen(NamedTuple):
    """What a feature network makes of n images: features [n, d] and class probabilities [n, classes]."""

    features: np.ndarray
    probabilities: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """The likeliest class [n] of each image."""
        return self.probabilities.argmax(axis=1)


class Measured(NamedTuple):
    """A metric's value, which direction is better, and its spread where it has one, with what that is."""

    value: float
    better: str
    spread: float | None = None
    spread_is: str | None = None


class Score(NamedTuple):
    """A metric's value with all that it depends on.

    name: METRIC/NETWORK/PROTOCOL, as in frechet_distance/mnist-classifier/10k-test: 10,000 samples against
      10,000 images of the test split. (Two look at the samples alone: Inception score and classes found.)
    value, spread: the samples' value, and where the metric has one its ±, of the kind `spread_is`.
    better: "lower" or "higher".
    floor: the same metric for real train images in place of the samples: no generator should beat it.
    noise: the same for uniform noise, the worst case.
    n_real, n_fake, split, seed: how many images, and which; the seed is that of every random choice.
    network, network_sha256: whose features they are.
    """

    name: str
    value: float
    better: str
    spread: float | None
    spread_is: str | None
    floor: float
    noise: float
    n_real: int
    n_fake: int
    split: str
    seed: int
    network: str
    network_sha256: str

    @property
    def metric(self) -> str:
        """The first part of the name."""
        return self.name.split("/")[0]

    def to_json(self) -> dict[str, Any]:
        """All but the name as JSON values; a value that is infinite, which JSON cannot say, as a string."""
        values = self._asdict()
        del values["name"]
        return {k: str(v) if isinstance(v, float) and not np.isfinite(v) else v for k, v in values.items()}


def full_name(metric: str, network: features.FeatureNetwork, num: int, split: str = "test") -> str:
    """METRIC/NETWORK/PROTOCOL, the protocol being 10k-test for 10,000 against as many test images."""
    count = f"{num // 1000}k" if num % 1000 == 0 else str(num)
    return f"{metric}/{network.name}/{count}-{split}"


def _frechet(real: Seen, fake: Seen, seed: int) -> dict[str, Measured]:
    return {"frechet_distance": Measured(frechet_distance(real.features, fake.features), LOWER)}


def _kernel(real: Seen, fake: Seen, seed: int) -> dict[str, Measured]:
    mean, error = kernel_distance_subsets(real.features, fake.features, seed=seed)
    return {
        "kernel_distance": Measured(kernel_distance(real.features, fake.features), LOWER),
        "kernel_distance_subsets": Measured(mean, LOWER, error, "standard error over 10 disjoint subsets"),
    }


def _inception(real: Seen, fake: Seen, seed: int) -> dict[str, Measured]:
    mean, deviation = inception_score(fake.probabilities)
    return {"inception_score": Measured(mean, HIGHER, deviation, "standard deviation over 10 splits")}


def _precision(real: Seen, fake: Seen, seed: int) -> dict[str, Measured]:
    precision, recall = precision_recall(real.features, fake.features, k=3)
    return {"precision": Measured(precision, HIGHER), "recall": Measured(recall, HIGHER)}


def _density(real: Seen, fake: Seen, seed: int) -> dict[str, Measured]:
    density, coverage = density_coverage(real.features, fake.features, k=5)
    return {"density": Measured(density, HIGHER), "coverage": Measured(coverage, HIGHER)}


def _classes(real: Seen, fake: Seen, seed: int) -> dict[str, Measured]:
    balance = class_balance(real.labels, fake.labels, real.probabilities.shape[1])
    return {
        "class_balance": Measured(balance, LOWER),
        "classes_found": Measured(float(mode_count(fake.labels)), HIGHER),
    }


Family = Callable[[Seen, Seen, int], dict[str, Measured]]

FAMILIES: dict[str, Family] = {
    "Fréchet distance": _frechet,
    "kernel distance": _kernel,
    "Inception score": _inception,
    "precision and recall": _precision,
    "density and coverage": _density,
    "classes": _classes,
}
# What papers report of Inception v3; its classes are those of ImageNet, of which no digit is one.
INCEPTION_FAMILIES = ("Fréchet distance", "kernel distance", "Inception score")
