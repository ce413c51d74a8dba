"""How samples are judged, once and for all: which real images, which seed, which network, which bounds.

    evaluator = Evaluator(test_images, train_images)
    evaluator.scores(images)   # every metric, beside its value for real train images and for noise
    evaluator.frechet(images)  # the Fréchet distance alone, in a few seconds: for use during training

`num` samples are compared with as many images of the test split; both are drawn at random by `seed`, since
neither a test split nor a file of samples need be in random order. What concerns the real images alone is
computed once and kept in the user's cache folder.
"""

import functools
import hashlib
from collections.abc import Callable, Collection, Iterable

import numpy as np

from gan_jax.bar import bar
from gan_jax.errors import UserError
from gan_jax.evaluation import neighbours
from gan_jax.evaluation.neighbours import NEIGHBOURS, Nearest
from gan_jax.evaluation.reals import check_arrays
from gan_jax.evaluation.scores import FAMILIES, FRECHET, Measured, Score, Seen, full_name
from gan_jax.evaluation.statistics import RealStatistics
from gan_jax.features.choice import choose_network
from gan_jax.features.network import FeatureNetwork
from gan_jax.metrics import frechet_from_moments, moments
from gan_jax.storage import sha256_of_arrays

NUM = 10_000  # at most, unless asked for
NUM_FOR_MODES = 26_000  # the literature's, of stacked MNIST: the KL of modes falls with the number of samples
SPLIT = "test"
VAL = "val"  # the held-out part of the train split, by which settings are chosen: see `reals.held_out`

# What of an iterable shows how far it is, under a title.
Progress = Callable[[Iterable, str], Iterable]


def choose(images: np.ndarray, num: int, seed: int) -> np.ndarray:
    """`num` of the images, or of their labels, in random order.

    Raises:
      UserError: where there are fewer.
    """
    if len(images) < num:
        raise UserError(f"there are {len(images)} images, and --num={num} asks for more.")
    return images[np.random.default_rng(seed).permutation(len(images))[:num]]


def usual_num(network: FeatureNetwork) -> int:
    """How many samples are judged at most, unless asked for."""
    return NUM_FOR_MODES if network.modes else NUM


class Evaluator:
    """The scores of samples against real images, on the features of one network.

        evaluator = Evaluator(test_images, train_images, train_labels=train_labels)
        for score in evaluator.scores(samples):
            print(score.metric, score.value, "real:", score.floor, "noise:", score.noise)

    network: what gives the features. num: how many samples, and how many real images of `split`. statistics: of these.
    left_out: families of metrics that so few images are too few for, and why. (Those that need classes are just not
    there where the network knows none.) floors_of: whose scores the floors are.
    """

    floors_of = "real train images"

    def __init__(
        self,
        test_images: np.ndarray,
        train_images: np.ndarray,
        *,
        test_labels: np.ndarray | None = None,
        train_labels: np.ndarray | None = None,
        network: FeatureNetwork | None = None,
        num: int | None = None,
        seed: int = 0,
        name: str = "data",
        families: Collection[str] | None = None,
        split: str = SPLIT,
        progress: Progress = bar,
    ) -> None:
        """Samples are compared with the test images; the train images say how good scores can be.

        Args:
          test_images, train_images: uint8 [N, H, W, C].
          test_labels, train_labels: integers [N], if there are any.
          network: by default the classifier trained on the train images and labels, or random features.
          num: at most as many as either split has; by default 10,000, for modes 26,000, or that.
          seed: of the choice among images, and of whatever a metric draws.
          name: of the data, for people.
          families: which of `FAMILIES`; by default all.
          split: what the test images are called in a score's name, where they are others than a test split.
          progress: shows how far a loop is.

        Raises:
          UserError: for other arrays, a damaged classifier, or a `num` of which no metric can be computed.
        """
        check_arrays("train", train_images, train_labels)
        check_arrays("test", test_images, test_labels)
        if test_images.shape[1:] != train_images.shape[1:]:
            raise UserError(f"test images {test_images.shape} and train images {train_images.shape} differ.")
        most = min(len(test_images), len(train_images))
        if num is not None and not 1 <= num <= most:
            raise UserError(f"--num={num} is not allowed: {name} has {most} images to compare with.")
        self.network = network or choose_network(train_images, train_labels, name)
        num = min(usual_num(self.network), most) if num is None else num
        self.dataset, self.num, self.seed, self.split = name, num, seed, split
        self.train_images, self.train_labels = train_images, train_labels
        self.test_images = choose(test_images, num, seed)
        self.test_labels = None if test_labels is None else choose(test_labels, num, seed)
        wanted = FAMILIES if families is None else families
        suited = {family: FAMILIES[family] for family in wanted if FAMILIES[family].suits(self.network)}
        lacking = {family: suited[family].lacks(self.network, num) for family in suited}
        self.left_out = {family: why for family, why in lacking.items() if why}
        self._families = [family for family in suited if family not in self.left_out]
        self._progress = progress
        if not self._families:
            raise UserError(f"{num} images are too few for any metric: {'; '.join(self.left_out.values())}.")
        self.statistics = RealStatistics(
            name,
            self.network,
            self.see,
            test=self.test_images,
            train=train_images,
            bounding=choose(train_images, num, seed),
            seed=seed,
        )

    def name(self, metric: str) -> str:
        """A metric's full name under this protocol."""
        return full_name(metric, self.network, self.num, self.split)

    @functools.cached_property
    def digest(self) -> str:
        """Of all on which a score depends besides the samples: scores of another cannot be compared with its own."""
        of = f"{self.name('scores')} {self.network.sha256} {sha256_of_arrays({'test': self.test_images})}"
        return hashlib.sha256(of.encode()).hexdigest()

    @property
    def families(self) -> dict[str, int | None]:
        """The families of metrics that are computed, each with its version."""
        return {family: FAMILIES[family].version for family in self._families}

    def see(self, images: np.ndarray, title: str = "samples") -> Seen:
        """What the network makes of images uint8 [n, H, W, C]."""
        progress = lambda batches: self._progress(batches, f"features of {title}")
        return Seen(*self.network.apply(images, progress=progress))

    def check_frechet(self) -> None:
        """Raises `UserError` where `frechet` cannot be computed, before anything is."""
        if why := FAMILIES[FRECHET].lacks(self.network, self.num):
            raise UserError(f"no Fréchet distance for {self.dataset}: {why}.")

    def frechet(self, images: np.ndarray) -> float:
        """The Fréchet distance of `num` among the images, as `scores` has it."""
        self.check_frechet()
        chosen = choose(images, self.num, self.seed)
        return frechet_from_moments(self.statistics.moments, moments(self.see(chosen).features))

    def scores(self, images: np.ndarray, seen: Seen | None = None) -> list[Score]:
        """Every metric of `num` among the images uint8 [N, H, W, C].

        `seen` is what `see(choose(images, num, seed))` gave, if that is at hand.

        Raises:
          UserError: for images of another type or shape than the real ones, or too few.
        """
        seen = seen or self.see(choose(images, self.num, self.seed))
        found: list[Score] = []
        for family in self._progress(self._families, "metrics of samples"):
            bounds = self.statistics.bounds(family)
            found += [
                self._score(metric, measured, *bounds[metric])
                for metric, measured in FAMILIES[family]
                .compute(self.statistics.test, seen, self.seed)
                .items()
            ]
        return found

    def label_accuracy(self, seen: Seen, labels: np.ndarray) -> float:
        """The share of what `see` gave that the network, one that judges labels, takes for these labels [n]."""
        return float(np.mean(seen.labels == labels))

    def label_accuracy_of_test(self) -> float | None:
        """The same of the real test images: about all that a generator can reach. None where they have no labels."""
        if self.test_labels is None or not self.network.judges_labels:
            return None
        return self.label_accuracy(self.statistics.test, self.test_labels)

    def floors(self) -> dict[str, float]:
        """Every metric of real train images in place of samples; no generator should beat it in distance, coverage."""
        bounds = [self.statistics.bounds(family) for family in self._families]
        return {metric: floor for found in bounds for metric, (floor, _) in found.items()}

    def _score(self, metric: str, measured: Measured, floor: float, noise: float) -> Score:
        # A family of someone's own may give NumPy's numbers, of which JSON knows none.
        spread = None if measured.spread is None else float(measured.spread)
        return Score(
            name=self.name(metric),
            **measured._replace(value=float(measured.value), spread=spread)._asdict(),
            floor=floor,
            noise=noise,
            n_real=self.num,
            n_fake=self.num,
            split=self.split,
            seed=self.seed,
            network=self.network.name,
            network_sha256=self.network.sha256,
        )

    @functools.cached_property
    def nearest_of_test(self) -> tuple[Nearest, Nearest]:
        """The train images nearest to the first `NEIGHBOURS` test images, in pixels and in feature space."""
        seen = Seen(self.statistics.test.features[:NEIGHBOURS])
        return self.nearest_pixels(self.test_images[:NEIGHBOURS]), self.nearest(seen)

    def nearest(self, seen: Seen) -> Nearest:
        """The train images nearest to those seen, among all, in feature space."""
        progress = lambda blocks: self._progress(blocks, "nearest in feature space")
        return neighbours.nearest_points(seen.features, self.statistics.train.features, progress)

    def nearest_pixels(self, images: np.ndarray) -> Nearest:
        """The train images nearest to those given, among all, in pixels from 0 to 1."""
        progress = lambda blocks: self._progress(blocks, "nearest in pixel space")
        flat = self.train_images.reshape(len(self.train_images), -1)
        found = neighbours.nearest_points(images.reshape(len(images), -1), flat, progress)
        return Nearest(found.indices, found.distances / 255)
