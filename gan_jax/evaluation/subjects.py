"""What can be judged: a training run, and a file of images."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from gan_jax import data, report
from gan_jax.checkpoint import Step
from gan_jax.errors import UserError
from gan_jax.evaluation import picture
from gan_jax.evaluation.images_file import read_images
from gan_jax.evaluation.protocol import Evaluator, bar
from gan_jax.gan import load

CHECKPOINTS = 10  # of a run at most, for the curve of its scores
PATHS = 6  # interpolations shown


class TrainedRun:
    """A training run. Its `name` is the path as given, `stem` the folder's own name."""

    def __init__(self, folder: Path, *, checkpoint: Step, data_dir: str | None) -> None:
        """Restore its generator. Raises `UserError` where there is none."""
        self.name, self.folder, self.stem = str(folder), folder, folder.resolve().name
        self._gan = load(folder, checkpoint, warn=report.warn)
        self.step = self._gan.step
        self.dataset, self.data_dir = self._gan.config.dataset, data_dir or self._gan.config.data_dir
        self.source = {"workdir": str(folder), "step": self.step}

    def images(self, num: int, seed: int) -> np.ndarray:
        """The samples that `gan_jax.sample` draws with this seed."""
        return self._gan.sample(num, seed, progress=lambda starts: bar(starts, "samples"))

    def labels(self, num: int) -> np.ndarray | None:
        """The classes [num] that the images were asked to be of; None for a run without labels."""
        labels = self._gan.classes(num)
        return None if labels is None else np.asarray(labels)

    def interpolations(self, seed: int) -> np.ndarray:
        """`PATHS` rows of images between two latents each, the noise of each step distributed as in training."""
        z = self._gan.latents(2 * PATHS, seed)
        start, end = z[:PATHS, None], z[PATHS:, None]
        share = jnp.linspace(0.0, 1.0, picture.COLUMNS)[None, :, None]
        if self._gan.config.z_distribution == "normal":
            # Half-way along the straight line Gaussian noise is shorter than any that the generator has seen.
            z = jnp.cos(share * jnp.pi / 2) * start + jnp.sin(share * jnp.pi / 2) * end
        else:
            z = (1 - share) * start + share * end
        labels = self._gan.classes(PATHS)
        if labels is not None:  # a path stays within one class
            labels = jnp.repeat(labels, picture.COLUMNS)
        return self._gan.draw(z.reshape(PATHS * picture.COLUMNS, -1), labels)

    def curve(self, evaluator: Evaluator, floor: float) -> picture.Curve:
        """The Fréchet distance over training: out of the log, or else of the checkpoints there are."""
        name, points = _logged(self.folder / "metrics.jsonl")
        if not points:
            name, points = evaluator.name("frechet_distance"), self._checkpoints(evaluator)
        return picture.Curve(name, [step for step, _ in points], [value for _, value in points], floor)

    def _checkpoints(self, evaluator: Evaluator) -> list[tuple[int, float]]:
        folders = (self.folder / "checkpoints").iterdir()
        steps = sorted(int(folder.name) for folder in folders if folder.name.isdigit())
        chosen = {steps[i] for i in np.linspace(0, len(steps) - 1, CHECKPOINTS).round().astype(int)}
        points = []
        for step in bar(sorted(chosen), "checkpoints"):
            try:
                gan = load(self.folder, step, warn=report.warn)
            except UserError as error:  # damaged, or deleted by a run that goes on: the others still tell
                report.warn(f"the curve is without step {step}: {error}")
                continue
            progress = lambda starts: bar(starts, f"samples of step {step}")  # noqa: B023
            images = gan.sample(evaluator.num, evaluator.seed, progress=progress)
            points.append((step, evaluator.frechet(images)))
        return points


class ImagesFile:
    """An .npz of images, in `folder`; `stem` is its name without the suffix."""

    def __init__(self, path: Path, *, dataset: str, data_dir: str | None, num: int) -> None:
        """Read it. Raises `UserError` if it is anything but images of the data set's shape."""
        self.name, self.folder, self.stem = str(path), path.absolute().parent, path.stem
        self.dataset, self.data_dir = dataset, data_dir
        shape = data.load(dataset, "test", data_dir)[0].shape[1:]
        self._images = read_images(path, shape, num)
        self.source = {"npz": str(path), "images_in_file": len(self._images)}

    def images(self, num: int, seed: int) -> np.ndarray:
        """All the images; the evaluator chooses."""
        return self._images

    def labels(self, num: int) -> np.ndarray | None:
        """None: labels in a file are not read, since other programs may mean anything by them."""
        return None


def _logged(path: Path) -> tuple[str, list[tuple[int, float]]]:
    """The name of the Fréchet distance in a run's log, and its value at each step that has one."""
    name, points = "", []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:  # the half line of a run that was killed, or is writing now
            continue
        for key in row:
            if key.split("/")[0] == "frechet_distance":
                name = key
                points.append((row["step"], row[key]))
    return name, points
