"""How samples of a known mixture are judged: by its modes, with no feature network and no real points between.

    evaluator = MixtureEvaluator(train_points, name="ring8")
    for score in evaluator.scores(points):
        print(score.metric, score.value, "real:", score.floor, "noise:", score.noise)

It has what `comparison` asks of an Evaluator.
"""

import hashlib
from typing import NamedTuple

import numpy as np

from gan_jax.data import MIXTURES, Mixture
from gan_jax.errors import UserError
from gan_jax.evaluation.protocol import choose
from gan_jax.evaluation.scores import HIGHER, LOWER, Score
from gan_jax.metrics import mode_scores
from gan_jax.storage import sha256_of_arrays

NUM_POINTS = 2500  # as Srivastava 2017 and Lin 2018 have it
BETTER = {"modes_found": HIGHER, "high_quality": HIGHER, "mode_kl": LOWER}


class Modes(NamedTuple):
    """What judges, in place of a feature network: the modes of a mixture, under a name."""

    name: str
    sha256: str
    mixture: Mixture


class MixtureEvaluator:
    """The scores of points [n, 2] by the modes of a mixture.

    network: the modes. num: how many samples. seed: of the choice among them. left_out: nothing. floors_of: whose
    scores the floors are.
    """

    floors_of = "real points"

    def __init__(self, train_points: np.ndarray, *, name: str, num: int | None = None, seed: int = 0) -> None:
        """The train points float32 [N, 2] say how good scores can be.

        Args:
          train_points: of the mixture called `name`, which must be one of `data.MIXTURES`.
          name: of the mixture.
          num: at most N; by default 2,500 or N.
          seed: of the choice among points, and of the noise.

        Raises:
          UserError: for another name, or a `num` that is not allowed.
        """
        if name not in MIXTURES:
            raise UserError(
                f"the modes of {name} are not known: only {' and '.join(MIXTURES)} can be judged."
            )
        most = len(train_points)
        num = min(NUM_POINTS, most) if num is None else num
        if not 1 <= num <= most:
            raise UserError(f"--num={num} is not allowed: {name} has {most} points to compare with.")
        self.dataset, self.num, self.seed = name, num, seed
        self.left_out: dict[str, str] = {}
        self.train_labels = None  # a mixture's modes are equally likely
        means, sd = MIXTURES[name]
        sha256 = sha256_of_arrays({"means": means, "sd": np.array(sd)})
        self.network = Modes(f"{name}-modes", sha256, MIXTURES[name])
        noise = np.random.default_rng(seed).uniform(-1, 1, (num, 2))
        self._floors = self._measured(choose(train_points, num, seed))
        self._noise = self._measured(noise)

    def name(self, metric: str) -> str:
        """A metric's full name under this protocol, as in modes_found/ring8-modes/2500."""
        return f"{metric}/{self.network.name}/{self.num}"

    @property
    def digest(self) -> str:
        """Of all on which a score depends besides the samples: the mixture, which the name and the network say."""
        return hashlib.sha256(f"{self.name('scores')} {self.network.sha256}".encode()).hexdigest()

    @property
    def families(self) -> dict[str, int]:
        """All of its metrics are one family."""
        return {"modes": 1}

    def floors(self) -> dict[str, float]:
        """Every metric of real points in place of samples."""
        return self._floors

    def scores(self, points: np.ndarray) -> list[Score]:
        """Every metric of `num` among the points [N, 2]. Raises `UserError` if there are fewer."""
        measured = self._measured(choose(points, self.num, self.seed))
        return [
            Score(
                name=self.name(metric),
                value=value,
                better=BETTER[metric],
                spread=None,
                spread_is=None,
                floor=self._floors[metric],
                noise=self._noise[metric],
                n_real=0,
                n_fake=self.num,
                split="",
                seed=self.seed,
                network=self.network.name,
                network_sha256=self.network.sha256,
            )
            for metric, value in measured.items()
        ]

    def _measured(self, points: np.ndarray) -> dict[str, float]:
        found = mode_scores(points, *self.network.mixture)
        return dict(zip(BETTER, (float(found.found), found.high_quality, found.kl), strict=True))
