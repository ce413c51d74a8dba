"""Drawing from a generator: latents, classes, images in batches, and their order in a grid.

Of a GAN of points, what is called images here are points float32 [n, 2].
"""

import numbers
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from gan_jax import data
from gan_jax.draws import draw_z
from gan_jax.errors import UserError
from gan_jax.parts import Parts

# Always the same batch shape, so that an image does not depend on how many are drawn with it.
BATCH = 64

COLUMNS = 8  # images in a row of a run's grids, as in the tutorial's program
POINTS = 512  # in a run's pictures, where examples are points
MOST_ROWS = 100  # of a class each in a run's grids; of more classes they have 8 rows of 8
LONGEST_ROW = 50  # images in a class's row of a grid; beyond, the grid is a square

Batches = list[tuple[Array, Array | None]]


@partial(jax.jit, static_argnums=0)
def _batch_of_latents(parts: Parts, key: Array, i: int) -> Array:
    return draw_z(parts, jax.random.fold_in(key, i), (BATCH,))


def latents(parts: Parts, seed: int, num: int) -> Array:
    """`num` latents [num, z_dim] of the run's noise; the first ones do not depend on `num`."""
    # Folded once more, with a number that training's splits do not reach: its own keys are not used again.
    key = jax.random.fold_in(jax.random.key(seed), 2**31)
    return jnp.concatenate([_batch_of_latents(parts, key, i) for i in range(-(-num // BATCH))])[:num]


def grid_size(parts: Parts) -> int:
    """Images in the grids that a run draws: 8 rows of 8, or for a conditional run of few classes a row for each.

    Of points as many as show where they gather.
    """
    if data.are_points(parts.image_shape):
        return POINTS
    rows = parts.num_classes or COLUMNS
    return COLUMNS * (rows if rows <= MOST_ROWS else COLUMNS)


def classes(parts: Parts, num: int, label: int | None = None) -> Array | None:
    """Labels int32 [num] to draw from a conditional run, None for others: `label`, or every class in turn.

    Raises `UserError` for a label that there is not.
    """
    if parts.num_classes is None:
        if label is not None:
            raise UserError("--label needs a conditional run: train with --conditional.")
        return None
    if label is None:
        return jnp.arange(num, dtype=jnp.int32) % parts.num_classes
    if not isinstance(label, numbers.Integral) or not 0 <= label < parts.num_classes:
        raise UserError(f"--label={label} is not allowed: this run's are 0 to {parts.num_classes - 1}.")
    return jnp.full(num, label, jnp.int32)


# By the module itself: a net that a notebook defines anew under its old name is another one.
@partial(jax.jit, static_argnums=0)
def _images(generator: nn.Module, variables: Any, z: Array, labels: Array | None) -> Array:
    images: Any = generator.apply(variables, z, labels)
    return data.to_data(images)


def generate(parts: Parts, variables: Any, z: Array, labels: Array | None) -> Array:
    """Images uint8 [n, H, W, C] from latents [n, z_dim] and, for a conditional run, labels [n], on the device."""
    return _images(parts.generator, variables, z, labels)


def draw(
    parts: Parts,
    variables: Any,
    z: ArrayLike,
    labels: ArrayLike | None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> np.ndarray:
    """Images uint8 [N, H, W, C] from latents [N, z_dim] and, for a conditional run, labels [N].

    `progress` may show how far the loop over batches is.
    """
    inputs = batches(jnp.asarray(z), None if labels is None else jnp.asarray(labels))
    images = [np.asarray(generate(parts, variables, *inputs[i])) for i in progress(range(len(inputs)))]
    return np.concatenate(images)[: np.shape(z)[0]]


def batches(z: Array, labels: Array | None) -> Batches:
    """Latents and labels in batches of `BATCH`, the last one filled up with zeros."""
    pad = lambda x: jnp.pad(x, ((0, -len(x) % BATCH), *((0, 0),) * (x.ndim - 1)))
    padded = jax.tree.map(pad, (z, labels))
    return [jax.tree.map(lambda x: x[i : i + BATCH], padded) for i in range(0, len(z), BATCH)]  # noqa: B023


def arranged(parts: Parts, images: np.ndarray, labels: ArrayLike | None) -> tuple[np.ndarray, int | None]:
    """Images in the order and columns of a grid: sorted by class, one a row where rows are even and not too long."""
    if labels is None or parts.num_classes is None:
        return images, None
    labels = np.asarray(labels)
    counts = np.bincount(labels, minlength=parts.num_classes)
    a_class_a_row = (counts == counts[0]).all() and counts[0] <= LONGEST_ROW
    return images[np.argsort(labels, stable=True)], int(counts[0]) if a_class_a_row else None
