"""What can be judged: a training run, and a file of images."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax import data, report, workdir
from gan_jax.bar import bar
from gan_jax.checkpoint import Step
from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.evaluation import picture
from gan_jax.evaluation.curves import Curves
from gan_jax.evaluation.images_file import read_images
from gan_jax.evaluation.named import Judge
from gan_jax.evaluation.protocol import Evaluator
from gan_jax.evaluation.reals import Data, Source
from gan_jax.evaluation.samples import classes_like, samples_for
from gan_jax.gan import Gan
from gan_jax.loading import load, load_population
from gan_jax.storage import Damaged, npz_headers, opened

PATHS = 6  # interpolations shown


def judged_runs(folder: Path, checkpoint: Step, members: Sequence[int], *, given: Data) -> "list[JudgedRun]":
    """The run of a folder; of a population the members asked for, or all that have not diverged.

    Raises `UserError` as `JudgedRun`, and where no member is left to judge.
    """
    record = workdir.read(folder)
    if record.alone or members:
        chosen: list[int | None] = [*dict.fromkeys(members)] or [None]
        curves = Curves(folder, chosen)
        return [
            JudgedRun(folder, checkpoint=checkpoint, given=given, member=i, curves=curves) for i in chosen
        ]
    population = load_population(folder, checkpoint, warn=report.warn)
    lost = np.flatnonzero(population.diverged >= 0)
    if len(lost):
        names = ", ".join(map(str, lost))
        report.warn(
            f"{folder} is judged without members {names}, which diverged; --member names one to judge."
        )
    if len(lost) == len(population):
        raise UserError(f"all {len(lost)} members of {folder} diverged: there is nothing to judge.")
    going = [i for i in range(len(population)) if i not in lost]
    curves = Curves(folder, going)
    return [
        JudgedRun(folder, checkpoint=checkpoint, given=given, member=i, gan=population[i], curves=curves)
        for i in going
    ]


class JudgedRun:
    """A training run, or a member of a population. Its `name` is the path as given, `stem` the folder's own name.

    suffix: of the files' names in its folder, which members share.
    """

    def __init__(
        self,
        folder: Path,
        *,
        checkpoint: Step,
        given: Data,
        member: int | None = None,
        gan: Gan | None = None,
        curves: Curves | None = None,
    ) -> None:
        """Restore its generator, unless it is given. It is judged by the data `given`, or else by its own.

        curves: of all the runs of the folder that are judged; by default of this one alone.

        Raises `UserError` where there is no generator, or no such data.
        """
        self.folder, self.member = folder, member
        self._curves = curves or Curves(folder, [member])
        self.suffix = "" if member is None else f"-{member}"
        self.name = str(folder) if member is None else f"{folder} [{member}]"
        self.stem = folder.resolve().name + self.suffix
        self.gan = gan or load(folder, checkpoint, member=member, warn=report.warn)
        config = self.gan.config
        self.data = _data_of(config, given, self.name)
        self.data_dir = given.data_dir or (config.data_dir if self.data.dataset == config.dataset else None)
        self.source: dict[str, Any] = {"workdir": str(folder), "step": self.gan.step}
        self.source |= {} if member is None else {"member": member}
        system = config.preset or config.loss
        self.caption = f"{self.stem}: {system}, training seed {config.seed}, step {self.gan.step:,}"

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raises `UserError` if its images are of another shape than the data set's, which has changed since."""
        if (own := self.gan.parts.image_shape) != shape:
            raise UserError(
                f"{self.name} makes images {list(own)}, and {self.data.dataset} now has {list(shape)}."
            )

    def check_content(self, sha256: str) -> None:
        """Warn if it was trained on other images than those that it is judged by."""
        if workdir.read(self.folder).facts.sha256 != sha256:
            report.warn(f"{self.name} was trained on other images than {self.data.dataset} holds.")

    def images(self, judge: Judge) -> np.ndarray:
        """The samples by which it is judged; see `samples_for`."""
        return samples_for(judge, self.gan, lambda starts: bar(starts, "samples"))

    def labels(self, judge: Judge) -> np.ndarray | None:
        """The classes that these were asked to be of; None for a run without labels."""
        return classes_like(self.gan.parts, judge.num, judge.train_labels)

    def path_classes(self) -> list[int] | None:
        """The class of each row of `interpolations`; None for a run without labels."""
        classes = self.gan.classes(PATHS)
        return None if classes is None else classes.tolist()

    def interpolations(self, seed: int) -> np.ndarray:
        """`PATHS` rows of images between two latents each, the noise of each step distributed as in training."""
        images = self.gan.interpolate(PATHS, picture.COLUMNS, seed)
        return images.reshape(-1, *images.shape[2:])

    def curve(self, evaluator: Evaluator, floor: float) -> picture.Curve:
        """The Fréchet distance over training; see `Curves`."""
        return self._curves.curve(self.member, evaluator, floor)


class JudgedFile:
    """An .npz of images, in `folder`; `stem` is its name without the suffix. It is read when first asked for."""

    def __init__(self, path: Path, *, data: Source, data_dir: str | None) -> None:
        """Of images like those of a data set. Raises `UserError` if there is no file to read."""
        try:
            opened(path).close()
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}).") from error
        self.name, self.folder, self.stem = str(path), path.absolute().parent, path.stem
        self.data, self.data_dir = data, data_dir
        self.source: dict[str, Any] = {"npz": str(path)}
        self.caption = path.name

    def count(self) -> int | None:
        """How many images it has, of which none is read; None where `read` will say that it has none."""
        try:
            shape, _ = npz_headers(Path(self.name))["images"]
        except (Damaged, OSError, KeyError):
            return None
        return shape[0] if shape else None

    def read(self, shape: tuple[int, ...], num: int) -> None:
        """Read it. Raises `UserError` if it is anything but images [H, W, C], at least `num`."""
        self._images = read_images(Path(self.name), shape, num)
        self.source["images_in_file"] = len(self._images)

    def images(self, judge: Judge) -> np.ndarray:
        """All the images; the judge chooses."""
        return self._images

    def labels(self, judge: Judge) -> np.ndarray | None:
        """None: labels in a file are not read, since other programs may mean anything by them."""
        return None


def _data_of(config: Config, given: Data, name: str) -> Source:
    """The data that a run called `name` is judged by. Raises `UserError` where its own are not to be found."""
    own = Source(config.dataset, config.image_size, config.channels)
    if given.dataset is None:
        if own.dataset not in data.DATASETS and not os.path.exists(os.path.expanduser(own.dataset)):
            raise UserError(
                f"{name} was trained on {own.dataset}, and there is no such file or folder: say with --dataset=PATH "
                "where it is now."
            )
        return own
    if given.dataset in data.DATASETS:
        return given.source
    # Own images that were moved are the same ones only if they are brought to the same size.
    return Source(given.dataset, given.image_size or own.image_size, given.channels or own.channels)
