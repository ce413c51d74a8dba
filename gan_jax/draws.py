"""What a step draws: its batch and its noise, each a function of keys and of the number of the step."""

import jax
import jax.numpy as jnp
from jax import Array

from gan_jax.parts import Parts


def next_batch(parts: Parts, order_key: Array, order: Array, batch: Array) -> tuple[Array, Array]:
    """(the epoch's order, indices of its batch number `batch` since the start of the run)."""
    num_images = order.shape[0]
    epoch, position = jnp.divmod(batch, num_images // parts.batch_size)

    # Kept in the state because sorting 60,000 numbers takes several times as long as a step.
    order = jax.lax.cond(position == 0, lambda: shuffled(order_key, epoch, num_images), lambda: order)
    index = jax.lax.dynamic_slice_in_dim(order, position * parts.batch_size, parts.batch_size)
    return order, index


def shuffled(order_key: Array, epoch: Array, num_images: int) -> Array:
    """The order [N] in which an epoch, counted from 0, goes through the images."""
    return jax.random.permutation(jax.random.fold_in(order_key, epoch), num_images).astype(jnp.int32)


def draw_z(parts: Parts, key: Array, shape: tuple[int, ...]) -> Array:
    """Noise [*shape, z_dim], as the run's `z_distribution` says."""
    shape = (*shape, parts.z_dim)
    if parts.z_distribution == "uniform":
        return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
    return jax.random.normal(key, shape)
