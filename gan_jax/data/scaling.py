"""Between the pixels of files, 0 to 255, and those that nets see, -1 to 1."""

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

Array = TypeVar("Array", np.ndarray, jax.Array)


def to_float(images: Array) -> Array:
    """uint8 images [...] as float32 in [-1, 1], NumPy or JAX as they came."""
    return images.astype(np.float32) / 127.5 - 1


def to_uint8(images: ArrayLike) -> jax.Array:
    """Images [...] in [-1, 1] as uint8, rounded; what lies outside is clipped. Inverts `to_float`."""
    # float32 first: a bfloat16 holds only 8 of the bits that the rounding needs.
    scaled = (jnp.asarray(images, jnp.float32) + 1) * 127.5
    return jnp.clip(jnp.round(scaled), 0, 255).astype(jnp.uint8)
