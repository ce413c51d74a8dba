"""Layers: dense, 4×4 stride-2 convolution and its transpose, each with spectral norm on request.

Parameters have the names, shapes and meaning of `nn.Dense`'s, `nn.Conv`'s and `nn.ConvTranspose`'s, so that either can
load the other's. How the convolutions are computed is in `convolutions`.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import Array

from gan_jax import spectral
from gan_jax.convolutions import PRECISION, strided_conv, strided_conv_transpose

Initializer = jax.nn.initializers.Initializer


def dense(x: Array, kernel: Array) -> Array:
    """[B, C] and [C, F] → [B, F]."""
    return jnp.dot(x, kernel, precision=PRECISION)


class _Layer(nn.Module):
    """`product(x, kernel)`, over the kernel's largest singular value with `spectral_norm`, plus a bias.

    dtype: of the arithmetic; parameters are float32. update: take a step of the power iteration.
    """

    features: int
    use_bias: bool = True
    spectral_norm: bool = False
    dtype: Any = None
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros

    window: ClassVar[tuple[int, ...]] = ()

    @staticmethod
    def product(x: Array, kernel: Array, /) -> Array:
        """The layer without its bias."""
        raise NotImplementedError

    @nn.compact
    def __call__(self, x: Array, *, update: bool = False) -> Array:
        """[B, ..., C] → [B, ..., features]."""
        shape = (*self.window, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        y = self.product(*promote_dtype(x, kernel, dtype=self.dtype))
        row = (1,) * (y.ndim - 1) + (-1,)
        if self.spectral_norm:
            # The product is divided, not the kernel: it is the same, and far smaller.
            scale = spectral.spread(self.inverse_sigma(kernel, update), self.features)
            y = (y * scale.reshape(row)).astype(y.dtype)
        elif self.use_bias:
            # Of a chunk's state the bias is a part of a vector (see `packing`): apart from the product it is read
            # there, where a library's product that adds it would have it copied out first.
            y = jax.lax.optimization_barrier(y)
        if self.use_bias:
            y = y + self.param("bias", self.bias_init, (self.features,)).astype(y.dtype).reshape(row)
        return y

    def inverse_sigma(self, kernel: Array, update: bool) -> Array:
        """1 / the largest singular value of the kernel as a matrix [·, features]; the variable u follows it.

        One step of power iteration an update, from where the last one ended, follows a kernel that changes slowly.
        """
        start = lambda: spectral.unit(jax.random.normal(self.make_rng("params"), (self.features,)))
        u = self.variable("spectral", "u", start)
        inverse, new = spectral.inverse_sigma(kernel.reshape(-1, self.features), u.value, update)
        if update:
            u.value = new
        return inverse


class Dense(_Layer):
    """`nn.Dense`."""

    product = staticmethod(dense)


class StridedConv(_Layer):
    """`nn.Conv(features, (4, 4), 2)`."""

    window = (4, 4)
    product = staticmethod(strided_conv)


class StridedConvTranspose(_Layer):
    """`nn.ConvTranspose(features, (4, 4), (2, 2))`."""

    window = (4, 4)
    product = staticmethod(strided_conv_transpose)
