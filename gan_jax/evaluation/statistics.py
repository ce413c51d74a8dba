"""What is computed once of real images: how a network sees them, and how real images and noise score.

It is kept in the user's cache folder, under all that it depends on.
"""

import functools
import json
from collections.abc import Callable

import numpy as np

from gan_jax.evaluation.cache import cached
from gan_jax.evaluation.scores import FAMILIES, Seen
from gan_jax.features.network import FEATURES_VERSION, FeatureNetwork
from gan_jax.metrics import Moments, moments
from gan_jax.storage import sha256_of_arrays

BLOCK = 20_000  # images seen at once


class RealStatistics:
    """Of test images, and of all train images, as seen by a network.

    name: begins the files' names. see: (images, title) -> what the network makes of them. bounding: as many train
    images as there are test images, whose scores are the floor. seed: of the noise, and of what a metric draws.
    """

    def __init__(
        self,
        name: str,
        network: FeatureNetwork,
        see: Callable[[np.ndarray, str], Seen],
        *,
        test: np.ndarray,
        train: np.ndarray,
        bounding: np.ndarray,
        seed: int,
    ) -> None:
        """Images uint8 [n, H, W, C]; nothing is computed yet."""
        self._name, self._network, self._see = f"{name}-{network.name}", network, see
        self._test_images, self._train_images, self._bounding_images = test, train, bounding
        self._seed = seed
        self._known: dict[str, dict[str, list[float]]] = {}

    @functools.cached_property
    def test(self) -> Seen:
        """The test images."""
        return self._cached(self._test_images, "test images")

    @functools.cached_property
    def train(self) -> Seen:
        """The features of all train images, among which the nearest are looked for."""
        return self._cached(self._train_images, "train images", features_alone=True)

    @functools.cached_property
    def moments(self) -> Moments:
        """Of the test images' features."""
        return moments(self.test.features)

    def bounds(self, family: str) -> dict[str, list[float]]:
        """Each of a family's metrics for real train images, and for noise."""
        if family not in self._known:
            version = FAMILIES[family].version
            key = {
                **self._features_key,
                "images": self._images_sha256,
                "seed": self._seed,
                "family": family,
                "family_version": version,
            }
            compute = functools.partial(self._compute_bounds, family)
            name = f"{self._name}-{len(self._test_images)}-bounds"
            found = compute() if version is None else cached(name, key, compute)
            self._known[family] = json.loads(str(found["bounds"]))
        return self._known[family]

    @property
    def _features_key(self) -> dict[str, object]:
        return {"network": self._network.sha256, "features_version": FEATURES_VERSION}

    def _cached(self, images: np.ndarray, title: str, *, features_alone: bool = False) -> Seen:
        key = {**self._features_key, "images": sha256_of_arrays({"images": images})}

        def compute() -> dict[str, np.ndarray]:
            if features_alone:
                # In blocks: the probabilities of 1,000 classes for 128,000 images would take half a gigabyte.
                blocks = (images[i : i + BLOCK] for i in range(0, len(images), BLOCK))
                return {"features": np.concatenate([self._see(block, title).features for block in blocks])}
            return {k: v for k, v in self._see(images, title)._asdict().items() if v is not None}

        return Seen(**cached(f"{self._name}-{len(images)}", key, compute))

    @functools.cached_property
    def _images_sha256(self) -> str:
        return sha256_of_arrays({"test": self._test_images, "train": self._bounding_images})

    @functools.cached_property
    def _bounding(self) -> list[Seen]:
        """What the network makes of the real train images, and of noise."""
        shape = self._bounding_images.shape
        noise = np.random.default_rng(self._seed).integers(0, 256, shape, np.uint8)
        return [self._see(self._bounding_images, "train images"), self._see(noise, "noise")]

    def _compute_bounds(self, family: str) -> dict[str, np.ndarray]:
        floor, noise = (FAMILIES[family].compute(self.test, seen, self._seed) for seen in self._bounding)
        bounds = {metric: [float(floor[metric].value), float(noise[metric].value)] for metric in floor}
        return {"bounds": np.array(json.dumps(bounds))}
