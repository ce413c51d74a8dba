"""Between examples as data sets hold them and as nets see them.

Images are uint8 [H, W, C] in data sets, and floats in [-1, 1] to nets. Points in the plane are float32 [2] in both.
"""

from collections.abc import Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

Array = TypeVar("Array", np.ndarray, jax.Array)


def are_points(shape: Sequence[int]) -> bool:
    """Whether examples of this shape are points [2] and no images [H, W, C]."""
    return len(shape) == 1


def shape_words(shape: Sequence[int]) -> str:
    """An example's shape in a few letters."""
    return "points" if are_points(shape) else "×".join(map(str, shape))


def to_float(examples: Array) -> Array:
    """uint8 images [...] as float32 in [-1, 1], NumPy or JAX as they came; floats as they are."""
    return examples.astype(np.float32) / 127.5 - 1 if examples.dtype == np.uint8 else examples


def to_uint8(images: ArrayLike) -> jax.Array:
    """Images [...] in [-1, 1] as uint8, rounded; what lies outside is clipped. Inverts `to_float`."""
    # float32 first: a bfloat16 holds only 8 of the bits that the rounding needs.
    scaled = (jnp.asarray(images, jnp.float32) + 1) * 127.5
    return jnp.clip(jnp.round(scaled), 0, 255).astype(jnp.uint8)


def to_data(examples: jax.Array) -> jax.Array:
    """What a net has made [n, ...] as a data set holds it: images as uint8, points as they are."""
    return examples if are_points(examples.shape[1:]) else to_uint8(examples)
