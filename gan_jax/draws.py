"""What steps draw: batches and noise, each a function of keys and of the number of the step.

All that a chunk's steps draw before they compute, keys and the images' indices, is drawn before its loop: on an
accelerator each key would be a kernel of every step, and a new epoch's order a branch that waits for the host.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gan_jax.parts import Parts


class Draws(NamedTuple):
    """What a step draws; of a chunk's steps, with a leading axis over them.

    batch: the indices of its images, int32 [d_steps, B]. z_key, update_key: typed keys, of its noise and of what is
    random in its arithmetic.
    """

    batch: Array
    z_key: Array
    update_key: Array


def draw(parts: Parts, key: Array, order: Array, begin: Array, stop: Array, most: int) -> tuple[Array, Draws]:
    """(the epoch's order after them, the draws of the steps from `begin` until `stop`, at most so many).

    Draws have the length `most`; those past `stop` have no meaning. key: the run's. order: the epoch's before them.
    """
    order_key, noise_key = jax.random.split(key)
    of_step = lambda step: jax.random.split(jax.random.fold_in(noise_key, step))
    keys = jax.vmap(of_step)(begin + jnp.arange(most))
    n = parts.d_steps
    order, index = next_batches(parts, order_key, order, n * begin, n * stop, n * most)
    return order, Draws(index.reshape(most, n, -1), keys[:, 0], keys[:, 1])


def next_batches(
    parts: Parts, order_key: Array, order: Array, begin: Array, stop: Array, most: int
) -> tuple[Array, Array]:
    """(the epoch's order after them, indices [most, B] of the batches from `begin` until `stop`).

    Batches are counted from the start of the run. Indices past `stop` have no meaning.
    """
    num_images = order.shape[0]
    per_epoch = num_images // parts.batch_size
    epoch, position = jnp.divmod(begin + jnp.arange(most), per_epoch)

    def next_order(order: Array, epoch: Array) -> tuple[Array, Array]:
        first = epoch * per_epoch
        # Kept in the state because sorting 60,000 numbers takes several times as long as a step.
        begins = (begin <= first) & (first < stop)
        order = jax.lax.cond(begins, lambda: shuffled(order_key, epoch, num_images), lambda: order)
        return order, order[: per_epoch * parts.batch_size].reshape(per_epoch, -1)

    most_epochs = 1 + -(-(most - 1) // per_epoch)  # if the first batch is its epoch's last
    order, orders = jax.lax.scan(next_order, order, epoch[0] + jnp.arange(most_epochs))
    return order, orders[epoch - epoch[0], position]


def shuffled(order_key: Array, epoch: Array, num_images: int) -> Array:
    """The order [N] in which an epoch, counted from 0, goes through the images."""
    return jax.random.permutation(jax.random.fold_in(order_key, epoch), num_images).astype(jnp.int32)


def draw_z(parts: Parts, key: Array, shape: tuple[int, ...]) -> Array:
    """Noise [*shape, z_dim], as the run's `z_distribution` says."""
    shape = (*shape, parts.z_dim)
    if parts.z_distribution == "uniform":
        return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
    return jax.random.normal(key, shape)
