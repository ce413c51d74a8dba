"""Draw images from a trained generator.

    python -m gan_jax.sample --workdir=runs/mnist-hinge --num=64 --out=samples.png

Without --num and --seed this is the grid that the training run drew at its last checkpoint. Of a conditional run
it has a class in every row; --label draws one class alone.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gan_jax import cli, data, report, state, workdir
from gan_jax.checkpoint import Checkpoints
from gan_jax.config import Config
from gan_jax.data import DATASETS
from gan_jax.errors import UserError
from gan_jax.report import COLUMNS
from gan_jax.state import GanState, make_networks
from gan_jax.step import draw_z

# Always the same batch shape, so that an image does not depend on how many are drawn with it.
BATCH = 64

MOST = 1_000_000  # images at once: they are held in memory

LONGEST_ROW = 50  # images in a class's row of a grid; beyond, the grid is a square

Checkpoint = int | Literal["best"] | None  # its step; None is the newest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to draw, and where to."""

    workdir: str
    """Folder of the training run."""
    out: str
    """File to write: .png for a grid, .npz for an array `images`, uint8 [N, 28, 28, C], and `labels` if it has any."""
    num: int | None = None
    """Number of images. Default: those of the run's own grids, 64, or 8 of each class."""
    label: int | None = None
    """Draw this class alone; for conditional runs."""
    seed: int | None = None
    """Seed of the latents. Default: the run's own, which gives the grid that training drew."""
    checkpoint: Checkpoint = None
    """Step of the checkpoint, or best: the one of the lowest Fréchet distance. Default: the newest."""

    def check(self) -> None:
        """Raises `UserError` for what is not allowed."""
        if self.num is not None and not 1 <= self.num <= MOST:
            raise UserError(f"--num={self.num} is not allowed: it must be from 1 to {MOST}.")
        if self.seed is not None and not 0 <= self.seed < 2**32:
            raise UserError(f"--seed={self.seed} is not allowed: it must be from 0 to 4294967295.")
        if Path(self.out).suffix not in (".png", ".npz"):
            raise UserError(
                f"--out={self.out} is not allowed: it must end in .png (a grid) or .npz (an array)."
            )
        if not (folder := Path(self.out).absolute().parent).is_dir():
            raise UserError(f"--out={self.out} cannot be written: there is no folder {folder}.")


def latents(config: Config, seed: int, num: int) -> Array:
    """`num` latents [num, z_dim] of the run's noise; the first ones do not depend on `num`."""
    # Folded once more, with a number that training's splits do not reach: its own keys are not used again.
    key = jax.random.fold_in(jax.random.key(seed), 2**31)
    batch = jax.jit(lambda i: draw_z(config, jax.random.fold_in(key, i), (BATCH,)))
    return jnp.concatenate([batch(i) for i in range(-(-num // BATCH))])[:num]


def grid_size(config: Config) -> int:
    """Images in the grids that a run draws: 8 rows of 8, or for a conditional run a row for each class."""
    return COLUMNS * (DATASETS[config.dataset].num_classes if config.conditional else COLUMNS)


def classes(config: Config, num: int, label: int | None = None) -> Array | None:
    """Labels int32 [num] to draw from a conditional run, None for others: `label`, or every class in turn.

    Raises `UserError` for a label that there is not.
    """
    if not config.conditional:
        if label is not None:
            raise UserError("--label needs a conditional run: train with --conditional.")
        return None
    num_classes = DATASETS[config.dataset].num_classes
    if label is None:
        return jnp.arange(num, dtype=jnp.int32) % num_classes
    if not 0 <= label < num_classes:
        raise UserError(f"--label={label} is not allowed: {config.dataset}'s are 0 to {num_classes - 1}.")
    return jnp.full(num, label, jnp.int32)


@functools.cache
def make_generate(
    config: Config, image_shape: tuple[int, ...]
) -> Callable[[Any, Array, Array | None], Array]:
    """`generate(variables, z [n, z_dim], labels [n] or None) -> images uint8 [n, H, W, C]`, compiled."""
    generator = make_networks(config, image_shape).generator

    @jax.jit
    def generate(variables: Any, z: Array, labels: Array | None) -> Array:
        images: Any = generator.apply(variables, z, labels)
        return data.to_uint8(images)

    return generate


def draw(
    config: Config,
    variables: Any,
    z: Array,
    labels: Array | None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> np.ndarray:
    """Images uint8 [N, H, W, C] from latents [N, z_dim] and, for a conditional run, labels [N].

    `progress` may show how far the loop over batches is.
    """
    generate = make_generate(config, DATASETS[config.dataset].image_shape)
    inputs = batches(z, labels)
    images = [np.asarray(generate(variables, *inputs[i])) for i in progress(range(len(inputs)))]
    return np.concatenate(images)[: len(z)]


def batches(z: Array, labels: Array | None) -> list[tuple[Array, Array | None]]:
    """Latents and labels in batches of `BATCH`, the last one filled up with zeros."""
    pad = lambda x: jnp.pad(x, ((0, -len(x) % BATCH), *((0, 0),) * (x.ndim - 1)))
    padded = jax.tree.map(pad, (z, labels))
    return [jax.tree.map(lambda x: x[i : i + BATCH], padded) for i in range(0, len(z), BATCH)]  # noqa: B023


def restore(folder: Path, checkpoint: Checkpoint = None) -> tuple[Config, GanState]:
    """The config and state of the run in `folder`, at its newest checkpoint or the one asked for.

    Raises `UserError` if there is no run, or no usable checkpoint.
    """
    config = workdir.read(folder)
    like = jax.eval_shape(lambda: state.init(config, DATASETS[config.dataset].image_shape, 1))
    checkpoints_folder = folder / "checkpoints"
    if not checkpoints_folder.is_dir():
        raise UserError(f"{folder} holds no checkpoint yet: let gan_jax.train run for a while first.")
    with Checkpoints(checkpoints_folder) as checkpoints:
        restored = checkpoints.restore(None, warn=report.warn, step=checkpoint)
    if restored is None and checkpoint == "best":
        raise UserError(
            f"{folder} holds no evaluated checkpoint: train with --eval_every=EPOCHS to have a best one."
        )
    if restored is None:
        raise UserError(f"{folder} holds no checkpoint yet: let gan_jax.train run for a while first.")
    return config, state.from_arrays(like, restored[1])


def arranged(config: Config, images: np.ndarray, labels: Array | None) -> tuple[np.ndarray, int | None]:
    """Images in the order and columns of a grid: sorted by class, one a row where rows are even and not too long."""
    if labels is None:
        return images, None
    counts = np.bincount(labels, minlength=DATASETS[config.dataset].num_classes)
    a_class_a_row = (counts == counts[0]).all() and counts[0] <= LONGEST_ROW
    return images[np.argsort(labels, stable=True)], int(counts[0]) if a_class_a_row else None


def _save(path: Path, config: Config, images: np.ndarray, labels: Array | None) -> None:
    try:
        if path.suffix == ".png":
            report.save_grid(path, *arranged(config, images, labels))
        elif labels is None:
            np.savez_compressed(path, images=images)
        else:
            np.savez_compressed(path, images=images, labels=np.asarray(labels))
    except OSError as error:
        raise UserError(f"--out={path} cannot be written ({error.strerror}).") from error


def main(args: Sequence[str]) -> None:
    """The command."""
    options = cli.parse(Options, args, prog="python -m gan_jax.sample", description=__doc__ or "")
    options.check()
    cli.use_compilation_cache()
    config, restored = restore(Path(options.workdir).expanduser(), options.checkpoint)
    seed = config.seed if options.seed is None else options.seed
    num = options.num or grid_size(config)
    labels = classes(config, num, options.label)
    images = draw(config, restored.sampling_variables, latents(config, seed, num), labels)
    _save(Path(options.out), config, images, labels)
    print(f"{num} samples of step {int(restored.step)} in {options.out}")


if __name__ == "__main__":
    cli.run(main)
