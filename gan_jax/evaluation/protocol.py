"""How samples are judged, once and for all: which real images, which seed, which network, which bounds.

    evaluator = Evaluator("mnist")
    evaluator.scores(images)   # every metric, beside its value for real train images and for noise
    evaluator.frechet(images)  # the Fréchet distance alone, in a few seconds: for use during training

`num` samples are compared with as many images of the test split; both are drawn at random by `seed`, since
neither a test split nor a file of samples need be in random order. What concerns the real images alone is
computed once and kept in the user's cache folder.
"""

import functools
import json
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from gan_jax import data
from gan_jax.errors import UserError
from gan_jax.evaluation import neighbours
from gan_jax.evaluation.cache import array_sha256, cached
from gan_jax.evaluation.neighbours import Nearest
from gan_jax.evaluation.scores import FAMILIES, Measured, Score, Seen, full_name
from gan_jax.features.classifier import FeatureNetwork, load_classifier
from gan_jax.metrics.frechet import Moments, frechet_from_moments, moments

NUM = 10_000
SPLIT = "test"

# What of an iterable shows how far it is, under a title.
Progress = Callable[[Iterable, str], Iterable]


def bar(iterable: Iterable, title: str) -> Iterable:
    """A progress bar that goes away at the end, on a terminal only."""
    return tqdm(iterable, desc=title, leave=False, disable=None, dynamic_ncols=True)


def choose(images: np.ndarray, num: int, seed: int) -> np.ndarray:
    """`num` of the images, or of their labels, in random order.

    Raises:
      UserError: where there are fewer.
    """
    if len(images) < num:
        raise UserError(f"there are {len(images)} images, and --num={num} asks for more.")
    return images[np.random.default_rng(seed).permutation(len(images))[:num]]


class Evaluator:
    """The scores of samples against a data set's test split, on the features of one network.

    num: how many samples, and how many real images.
    seed: of the choice among both, and of whatever a metric draws.
    network: by default the data set's classifier.
    families: which of `scores.FAMILIES` to compute.
    progress: shows how far a loop is; `bar` by default.
    """

    def __init__(
        self,
        dataset: str,
        data_dir: str | Path | None = None,
        *,
        num: int = NUM,
        seed: int = 0,
        network: FeatureNetwork | None = None,
        families: Collection[str] = tuple(FAMILIES),
        progress: Progress = bar,
    ) -> None:
        """Load the data; of its statistics each is computed when first needed, unless it is in the cache.

        Raises:
          UserError: for an unknown data set, one without a classifier, or a `num` that cannot be.
        """
        self.network = network or load_classifier(dataset)
        self.dataset, self.num, self.seed = dataset, num, seed
        self.train_images = data.load(dataset, "train", data_dir)[0]
        test_images, test_labels = data.load(dataset, SPLIT, data_dir)
        most = min(len(test_images), len(self.train_images))
        if not 1 <= num <= most:
            raise UserError(f"--num={num} is not allowed: {dataset} has {most} images to compare with.")
        self.test_images = choose(test_images, num, seed)
        self.test_labels = None if test_labels is None else choose(test_labels, num, seed)
        self._families = families
        self._progress = progress

    def name(self, metric: str) -> str:
        """A metric's full name under this protocol."""
        return full_name(metric, self.network, self.num, SPLIT)

    def see(self, images: np.ndarray, title: str = "samples") -> Seen:
        """What the network makes of images uint8 [n, H, W, C]."""
        progress = lambda batches: self._progress(batches, f"features of {title}")
        return Seen(*self.network.apply(images, progress=progress))

    def frechet(self, images: np.ndarray) -> float:
        """The Fréchet distance of `num` among the images, as `scores` has it."""
        chosen = choose(images, self.num, self.seed)
        return frechet_from_moments(self._real_moments, moments(self.see(chosen).features))

    def scores(self, images: np.ndarray, seen: Seen | None = None) -> list[Score]:
        """Every metric of `num` among the images uint8 [N, H, W, C].

        `seen` is what `see(choose(images, num, seed))` gave, if that is at hand.

        Raises:
          UserError: for images of another type or shape than the data set's, or too few.
        """
        measured = self._measure(seen or self.see(choose(images, self.num, self.seed)), "samples")
        return [
            Score(
                name=self.name(metric),
                **found._asdict(),
                floor=self._bounds["floor"][metric],
                noise=self._bounds["noise"][metric],
                n_real=self.num,
                n_fake=self.num,
                split=SPLIT,
                seed=self.seed,
                network=self.network.name,
                network_sha256=self.network.sha256,
            )
            for metric, found in measured.items()
        ]

    def nearest(self, seen: Seen) -> Nearest:
        """The train images nearest to those seen, among all, in feature space."""
        progress = lambda blocks: self._progress(blocks, "nearest in feature space")
        return neighbours.nearest(seen.features, self._train.features, progress)

    def nearest_pixels(self, images: np.ndarray) -> Nearest:
        """The train images nearest to those given, among all, in pixels from 0 to 1."""
        progress = lambda blocks: self._progress(blocks, "nearest in pixel space")
        flat = self.train_images.reshape(len(self.train_images), -1)
        found = neighbours.nearest(images.reshape(len(images), -1), flat, progress)
        return Nearest(found.indices, found.distances / 255)

    def _measure(self, fake: Seen, title: str) -> dict[str, Measured]:
        found: dict[str, Measured] = {}
        for family in self._progress(self._families, f"metrics of {title}"):
            found |= FAMILIES[family](self.real, fake, self.seed)
        return found

    def _cached_see(self, images: np.ndarray, title: str) -> Seen:
        key = {"images": array_sha256(images), "network": self.network.sha256}
        name = f"{self.dataset}-{self.network.name}-{len(images)}"
        return Seen(**cached(name, key, lambda: self.see(images, title)._asdict()))

    @functools.cached_property
    def real(self) -> Seen:
        """What the network makes of the real images that samples are compared with."""
        return self._cached_see(self.test_images, "test images")

    @functools.cached_property
    def _train(self) -> Seen:
        return self._cached_see(self.train_images, "train images")

    @functools.cached_property
    def _real_moments(self) -> Moments:
        return moments(self.real.features)

    @functools.cached_property
    def _bounds(self) -> dict[str, dict[str, float]]:
        """Each metric's value for real train images and for noise."""
        train = choose(self.train_images, self.num, self.seed)
        key = {
            "images": [array_sha256(self.test_images), array_sha256(train)],
            "network": self.network.sha256,
            "seed": self.seed,
            "families": list(self._families),
        }

        def compute() -> dict[str, np.ndarray]:
            noise = np.random.default_rng(self.seed).integers(0, 256, train.shape, np.uint8)
            sets = {"floor": (train, "train images"), "noise": (noise, "noise")}
            bounds: dict[str, Any] = {}
            for name, (images, title) in sets.items():
                measured = self._measure(self.see(images, title), title)
                bounds[name] = {metric: found.value for metric, found in measured.items()}
            return {"bounds": np.array(json.dumps(bounds))}

        found = cached(f"{self.dataset}-{self.network.name}-{self.num}-bounds", key, compute)
        return json.loads(str(found["bounds"]))
