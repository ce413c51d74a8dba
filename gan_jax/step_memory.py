"""Whether a step, or the members of a population, fit the memory: asked before anything is compiled or written.

A kernel that runs out of memory kills the process without a word, so what is far too large is refused beforehand.
"""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
from jax import Array

from gan_jax import state
from gan_jax.config import Config
from gan_jax.devices import free_memory
from gan_jax.errors import UserError
from gan_jax.parts import Facts, Parts
from gan_jax.plan import Plan

# A batch whose inputs take less than this fraction of the memory is not looked at, which costs time.
SMALL = 1000
HEADROOM = 0.8  # of a device's free memory, for members
COPIES = 3  # of a member's state while it trains: before a chunk, in it, and after it


def check_step_fits(config: Config, parts: Parts, devices: Sequence[jax.Device]) -> None:
    """Raises `UserError` if a step on its share of the batch needs more than each device has."""
    free, batch = free_memory(devices), parts.batch_size // len(devices)
    if 4 * (batch * (parts.z_dim + math.prod(parts.image_shape)) + parts.z_dim * 1024) < free / SMALL:
        return
    needed = step_bytes(parts, batch)
    if needed > free:
        raise UserError(
            f"--batch_size={config.batch_size} and --z_dim={config.z_dim} with --model={config.model} take about "
            f"{needed / 1e9:.1f} GB on each device, and {free / 1e9:.1f} GB are free: give smaller ones."
        )


def check_members_fit(configs: Sequence[Config], parts: Parts, course: Plan, facts: Facts) -> None:
    """Raises `UserError` if these members do not fit the memory while they train, beside their images."""
    devices = jax.devices()
    copies = COPIES / len(devices)
    if devices[0].platform != "cpu":  # all are made on the first device, and spread from there
        copies = max(copies, 2.0)
    room = HEADROOM * free_memory(devices) - facts.num_bytes
    each = copies * member_bytes(configs[0], parts, course, facts.num_images)
    if len(configs) * each > room:
        raise UserError(
            f"{len(configs)} GANs side by side take {len(configs) * each / 1e9:.1f} GB on each device, and "
            f"{max(room, 0) / 1e9:.1f} GB are free: train fewer."
        )


def member_bytes(config: Config, parts: Parts, course: Plan, num_images: int) -> int:
    """The bytes of a member's state: weights, averages, moments, and its order of the images."""
    numbers = state.hyperparams(config, course.total)
    like = jax.eval_shape(lambda: state.init(parts, numbers, config.seed, num_images))
    return sum(map(_size, jax.tree.leaves(like)))


def step_bytes(parts: Parts, batch: int) -> int:
    """About the bytes of a step: of all that the layers put out and its gradients, of the weights and their moments."""
    packs = max(1, batch // parts.pack)
    z, images = jax.eval_shape(lambda: parts.g_inputs(batch)), jax.eval_shape(lambda: parts.d_inputs(packs))
    g_weights, g_outputs = _sizes(parts.generator, *z)
    d_weights, d_outputs = _sizes(parts.discriminator, *images)
    inputs = sum(_size(x) for x in (z[0], images[0]))
    # Noise takes more than its size while it is drawn. D sees real and generated images. Beside the weights are
    # their gradients, two moments and a copy to go back to.
    return 8 * inputs + 2 * (g_outputs + 2 * d_outputs) + 5 * (g_weights + d_weights)


def _sizes(net: nn.Module, x: Any, labels: Array | None) -> tuple[int, int]:
    """Bytes of a net's variables and of what its layers put out for these inputs."""
    variables = jax.eval_shape(net.init, jax.random.key(0), x, labels)
    _, found = jax.eval_shape(
        lambda v, x, labels: net.apply(v, x, labels, capture_intermediates=True, mutable=["intermediates"]),
        variables,
        x,
        labels,
    )
    total = lambda tree: sum(map(_size, jax.tree.leaves(tree)))
    return total(variables), total(found)


def _size(array: Any) -> int:
    return math.prod(array.shape) * array.dtype.itemsize
