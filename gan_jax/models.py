"""Generator and discriminator pairs, in Flax linen.

A generator maps z [B, z_dim] to images [B, 28, 28, C] in [−1, 1]; a discriminator maps images to logits
[B]. To add a pair, write two modules and add a function to `MODELS` that builds them for an image shape.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array


class Networks(NamedTuple):
    """The two modules of a GAN."""

    generator: nn.Module
    discriminator: nn.Module


def _dense(features: int, fan_in: int) -> nn.Dense:
    """PyTorch's default linear layer: kernel and bias both from U(−1/√fan_in, 1/√fan_in).

    Flax's default (LeCun normal, zero biases) starts elsewhere and cannot be held against the tutorial.
    """
    limit = 1.0 / math.sqrt(fan_in)

    def uniform(key: Array, shape: tuple[int, ...], dtype=jnp.float32, out_sharding=None) -> Array:
        del out_sharding  # Flax passes it; parameters here are replicated
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return nn.Dense(features, kernel_init=uniform, bias_init=uniform)


class MLPGenerator(nn.Module):
    """The tutorial's generator: Dense 256 → LeakyReLU 0.2 → Dense 784 → tanh."""

    image_shape: tuple[int, int, int]
    hidden: int = 256

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Images [B, *image_shape] from z [B, z_dim]."""
        x = nn.leaky_relu(_dense(self.hidden, z.shape[-1])(z), 0.2)
        x = jnp.tanh(_dense(math.prod(self.image_shape), self.hidden)(x))
        return x.reshape(z.shape[0], *self.image_shape)


class MLPDiscriminator(nn.Module):
    """The tutorial's discriminator: Dense 256 → LeakyReLU 0.2 → Dense 1; its sigmoid is in the loss."""

    hidden: int = 256

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Logits [B] from images [B, ...]."""
        x = images.reshape(images.shape[0], -1)
        x = nn.leaky_relu(_dense(self.hidden, x.shape[-1])(x), 0.2)
        return _dense(1, self.hidden)(x)[:, 0]


def mlp(image_shape: tuple[int, int, int]) -> Networks:
    """The fully connected nets of the tutorial's program."""
    return Networks(MLPGenerator(image_shape), MLPDiscriminator())


MODELS: dict[str, Callable[[tuple[int, int, int]], Networks]] = {"mlp": mlp}
