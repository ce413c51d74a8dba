"""The scores of a set of samples: which metrics there are, and what is reported with each.

To add one, write a function of the reals and the fakes, as seen by a feature network, and enter it in
`FAMILIES`, here or from Python; the command line, the tables and the files then have it:

    FAMILIES["spread"] = Family(lambda real, fake, seed: {"spread": Measured(fake.features.std(), HIGHER)})
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from gan_jax.features.network import FeatureNetwork
from gan_jax.metrics import (
    class_balance,
    density_coverage,
    frechet_distance,
    inception_score,
    kernel_distance,
    kernel_distance_subsets,
    mode_count,
    mode_kl,
    precision_recall,
)

LOWER, HIGHER = "lower", "higher"


class Seen(NamedTuple):
    """What a feature network makes of n images: features [n, d] and class probabilities [n, classes], if any."""

    features: np.ndarray
    probabilities: np.ndarray | None = None

    @property
    def labels(self) -> np.ndarray:
        """The likeliest class [n] of each image."""
        assert self.probabilities is not None
        return self.probabilities.argmax(axis=1)


class Measured(NamedTuple):
    """A metric's value, which direction is better, and its spread where it has one, with what that is."""

    value: float
    better: str
    spread: float | None = None
    spread_is: str | None = None


class Family(NamedTuple):
    """Metrics that are computed together.

    compute: (real, fake, seed) -> each metric, by name.
    headings: a metric's short name in tables, by default its own; "" leaves it to evaluation.json.
    fewest: how many images it takes, of features so wide.
    needs: of the network, besides its features. Classes that are modes do not count as labels, but by themselves.
    version: raised when a change of ours changes its numbers, so that what users have of it in their caches is
      computed anew; None, for metrics that we do not know, keeps them out of the cache.
    """

    compute: Callable[[Seen, Seen, int], dict[str, Measured]]
    headings: Mapping[str, str] = {}
    fewest: Callable[[int], int] = lambda width: 1
    needs: Literal["features", "probabilities", "labels", "modes"] = "features"
    version: int | None = None

    def suits(self, network: FeatureNetwork) -> bool:
        """Whether the network gives what it needs."""
        return {
            "features": True,
            "probabilities": network.classes > 0,
            "labels": network.judges_labels and not network.modes,
            "modes": network.modes > 0,
        }[self.needs]

    def lacks(self, network: FeatureNetwork, num: int) -> str | None:
        """Why `num` images seen by this network are too few; None if they are not."""
        if num < (fewest := self.fewest(network.width)):
            return f"with {network.name} it takes at least {fewest} images, and there are {num}"
        return None


class Score(NamedTuple):
    """A metric's value with all that it depends on.

    name: METRIC/NETWORK/PROTOCOL, as in frechet_distance/mnist-classifier/10k-test: 10,000 samples against
      10,000 images of the test split. (Some look at the samples alone: the Inception
      score, classes and modes found, the modes' KL.)
    value, spread: the samples' value, and where the metric has one its ±, of the kind `spread_is`.
    better: "lower" or "higher".
    floor: the same metric for real train images in place of the samples. No generator should beat it in distance and
      coverage.
    noise: the same for uniform noise, the worst case.
    n_real, n_fake, split, seed: how many images, and which; the seed is that of every random choice. Scores by the
      known modes of a mixture take no real ones: n_real is 0.
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
        """All but the name as JSON values; see `sayable`."""
        values = self._asdict()
        del values["name"]
        return sayable(values)


def sayable(value: Any) -> Any:
    """The same with numbers that are not finite, which JSON cannot say, as strings; in dicts and lists as well."""
    if isinstance(value, dict):
        return {key: sayable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [sayable(each) for each in value]
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value


def full_name(metric: str, network: FeatureNetwork, num: int, split: str = "test") -> str:
    """METRIC/NETWORK/PROTOCOL, the protocol being 10k-test for 10,000 against as many test images."""
    count = f"{num // 1000}k" if num % 1000 == 0 else str(num)
    return f"{metric}/{network.name}/{count}-{split}"


def heading(metric: str) -> str:
    """A metric's short name in tables; "" if it is left out of them."""
    for family in FAMILIES.values():
        if metric in family.headings:
            return family.headings[metric]
    return OTHER_HEADINGS.get(metric, metric)


def _frechet(real: Seen, fake: Seen, seed: int) -> dict[str, Measured]:
    return {"frechet_distance": Measured(frechet_distance(real.features, fake.features), LOWER)}


def _kernel(real: Seen, fake: Seen, seed: int) -> dict[str, Measured]:
    mean, error = kernel_distance_subsets(real.features, fake.features, seed=seed)
    return {
        "kernel_distance": Measured(kernel_distance(real.features, fake.features), LOWER),
        "kernel_distance_subsets": Measured(mean, LOWER, error, "standard error over 10 disjoint subsets"),
    }


def _inception(real: Seen, fake: Seen, seed: int) -> dict[str, Measured]:
    assert fake.probabilities is not None
    mean, deviation = inception_score(fake.probabilities)
    return {"inception_score": Measured(mean, HIGHER, deviation, "standard deviation over 10 splits")}


def _precision(real: Seen, fake: Seen, seed: int) -> dict[str, Measured]:
    precision, recall = precision_recall(real.features, fake.features, k=3)
    return {"precision": Measured(precision, HIGHER), "recall": Measured(recall, HIGHER)}


def _density(real: Seen, fake: Seen, seed: int) -> dict[str, Measured]:
    density, coverage = density_coverage(real.features, fake.features, k=5)
    return {"density": Measured(density, HIGHER), "coverage": Measured(coverage, HIGHER)}


def _classes(real: Seen, fake: Seen, seed: int) -> dict[str, Measured]:
    assert real.probabilities is not None
    balance = class_balance(real.labels, fake.labels, real.probabilities.shape[1])
    return {
        "class_balance": Measured(balance, LOWER),
        "classes_found": Measured(float(mode_count(fake.labels)), HIGHER),
    }


def _modes(real: Seen, fake: Seen, seed: int) -> dict[str, Measured]:
    assert fake.probabilities is not None
    return {
        "modes_found": Measured(float(mode_count(fake.labels)), HIGHER),
        "mode_kl": Measured(mode_kl(fake.labels, fake.probabilities.shape[1]), LOWER),
    }


FRECHET = "Fréchet distance"
LABEL_ACCURACY = "label_accuracy"
# Of metrics of no family: of a mixture, and of the classes that a conditional run was asked for.
OTHER_HEADINGS = {"high_quality": "high quality", LABEL_ACCURACY: "class asked for"}

FAMILIES: dict[str, Family] = {
    FRECHET: Family(_frechet, {"frechet_distance": "Fréchet"}, lambda width: width + 1, version=1),
    "kernel distance": Family(
        _kernel,
        {"kernel_distance": "kernel", "kernel_distance_subsets": ""},
        lambda width: 20,
        version=1,
    ),
    "Inception score": Family(
        _inception, {"inception_score": "Inception"}, lambda width: 10, "probabilities", version=1
    ),
    "precision and recall": Family(_precision, fewest=lambda width: 4, version=1),
    "density and coverage": Family(_density, fewest=lambda width: 6, version=1),
    "classes": Family(
        _classes, {"class_balance": "class KL", "classes_found": "classes"}, needs="labels", version=1
    ),
    # Lin 2018, §4.1. The labels of 1,000 modes are too few each for KL(fake ‖ real test images).
    "modes": Family(_modes, {"modes_found": "modes found", "mode_kl": "mode KL"}, needs="modes", version=1),
}
# What papers report of Inception v3; its classes are those of ImageNet, of which no digit is one.
INCEPTION_FAMILIES = (FRECHET, "kernel distance", "Inception score")
