"""The real images that samples are judged by: where they are from, and the options that say so."""

import dataclasses
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gan_jax import data, plugins
from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.options import PATH, TEXT, option, options_of

_OF_A_RUN = options_of(Config)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """Which images."""

    dataset: str | None = option(
        None,
        f"{_OF_A_RUN['dataset'].help} Default: mnist. A run is judged by its own, unless another is given here.",
        TEXT,
    )
    data_dir: str | None = option(None, _OF_A_RUN["data_dir"].help, PATH)
    image_size: int | None = option(None, _OF_A_RUN["image_size"].help, _OF_A_RUN["image_size"].rule)
    channels: int | None = option(None, _OF_A_RUN["channels"].help, _OF_A_RUN["channels"].rule)

    @property
    def source(self) -> "Source":
        """What they name."""
        return Source(self.dataset or "mnist", self.image_size, self.channels)


class Source(NamedTuple):
    """What names a data set as it is judged by: two of them are equal if their images are."""

    dataset: str
    image_size: int | None = None
    channels: int | None = None


class Reals(NamedTuple):
    """Both splits of a data set: images uint8 [N,H,W,C], labels int32 [N] or None, and a short name."""

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray | None
    test_images: np.ndarray
    test_labels: np.ndarray | None


def load_reals(source: Source, data_dir: str | Path | None = None) -> Reals:
    """Both splits.

    Raises:
      UserError: as `data.load`.
    """
    own: dict[str, Any] = {"image_size": source.image_size, "channels": source.channels}
    train, test = (data.load(source.dataset, split, data_dir, **own) for split in ("train", "test"))
    return Reals(data.dataset_name(source.dataset), *train, *test)


def split_train(num: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of `num` train images GANs see, and the sixth that is held out; of MNIST 50,000 and 10,000."""
    order = np.random.default_rng(0).permutation(num)  # a train split need not be in random order
    return order[num // 6 :], order[: num // 6]


def held_out(reals: Reals) -> Reals:
    """The train split alone, whose sixth takes the place of the test images: settings are chosen by those.

    The test images stay for the report of what was chosen. An Evaluator of these has split="val" and the network of the
    whole train split.
    """
    seen, held = split_train(len(reals.train_images))
    labels = reals.train_labels
    return Reals(
        reals.name,
        reals.train_images[seen],
        None if labels is None else labels[seen],
        reals.train_images[held],
        None if labels is None else labels[held],
    )


def train_command(source: Source, data_dir: str | Path | None) -> str:
    """The command that trains the classifier of these images, as it can be pasted into a shell."""
    given = {**source._asdict(), "data_dir": data_dir}
    flags = [f"--{name}={value}" for name, value in given.items() if value is not None]
    return shlex.join(["python", "-m", "gan_jax.train_classifier", *flags, *plugins.flags()])


def check_arrays(split: str, images: np.ndarray, labels: np.ndarray | None) -> None:
    """Raises `UserError` for other than images uint8 [N,H,W,C] and labels from 0 on, [N] or None."""
    if images.ndim != 4 or images.dtype != np.uint8 or 0 in images.shape:
        raise UserError(f"{split} images must be uint8 [N,H,W,C], not {images.dtype} {images.shape}.")
    if labels is not None and (
        labels.shape != images.shape[:1] or labels.dtype.kind not in "iu" or labels.min() < 0
    ):
        raise UserError(
            f"{split} labels must be whole numbers from 0 on, one for each of {len(images)} images, "
            f"not {labels.dtype} {labels.shape}."
        )
