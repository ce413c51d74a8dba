"""Augmentations: what may be done to a training image without changing its class."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

Augment = Callable[[jax.Array, jax.Array], jax.Array]


def warp(key: jax.Array, images: jax.Array) -> jax.Array:
    """Shift, shear, scale and bend each image [n,H,W,C] a little: what a pen may do to a character."""
    n, height, width = images.shape[:3]
    pixels = max(height, width) / 28
    shear_key, shift_key, bend_key = jax.random.split(key, 3)
    shear = jnp.eye(2)[None] + jax.random.uniform(shear_key, (n, 2, 2), minval=-0.15, maxval=0.15)
    shift = pixels * jax.random.uniform(shift_key, (n, 1, 1, 2), minval=-2.0, maxval=2.0)
    bend = 0.7 * pixels * jax.random.normal(bend_key, (n, 4, 4, 2))
    bend = jax.image.resize(bend, (n, height, width, 2), "cubic")
    centre = (jnp.array([height, width]) - 1) / 2
    axes = [jnp.arange(size) - (size - 1) / 2 for size in (height, width)]
    grid = jnp.stack(jnp.meshgrid(*axes, indexing="ij"), axis=-1)
    source = jnp.einsum("nij,hwj->nhwi", shear, grid) + centre[None, None, None] + shift + bend

    def sample(image: jax.Array, at: jax.Array) -> jax.Array:
        channel = partial(jax.scipy.ndimage.map_coordinates, coordinates=[at[..., 0], at[..., 1]], order=1)
        return jax.vmap(channel, in_axes=-1, out_axes=-1)(image.astype(jnp.float32))

    return jax.vmap(sample)(images, source)


def shift(key: jax.Array, images: jax.Array) -> jax.Array:
    """Shift each image [n,H,W,C] by up to a fourteenth of its size, over black: safe for whatever is depicted."""
    n, height, width = images.shape[:3]
    most = max(1, min(height, width) // 14)
    padded = jnp.pad(images, ((0, 0), (most, most), (most, most), (0, 0)))
    corners = jax.random.randint(key, (n, 2), 0, 2 * most + 1)

    def crop(image: jax.Array, at: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (at[0], at[1], 0), (height, width, image.shape[-1]))

    return jax.vmap(crop)(padded, corners)


def mirror(key: jax.Array, images: jax.Array) -> jax.Array:
    """Mirror half of the images [n,H,W,C], and shift each: for things that are upright, and without handedness."""
    mirror_key, shift_key = jax.random.split(key)
    flip = jax.random.bernoulli(mirror_key, 0.5, (images.shape[0], 1, 1, 1))
    return shift(shift_key, jnp.where(flip, images[:, :, ::-1], images))


AUGMENTATIONS: dict[str, Augment] = {"warp": warp, "mirror": mirror, "shift": shift}

# What suits the registered sets; of others nothing is known, so they are shifted.
OF_DATASET = {"mnist": "warp", "kmnist": "warp", "fashion_mnist": "mirror", "cifar10": "mirror"}
