"""Layers: dense, 4×4 stride-2 convolution and its transpose, each with spectral norm on request; BatchNorm by class.

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


class ClassBatchNorm(nn.Module):
    """`nn.BatchNorm` whose gain and bias are those of an image's class: de Vries 2017, eq. 3; Miyato & Koyama 2018, §4.

    dtype: of the result; the gains, biases and statistics are float32. axis: the device axis over which the batch is
    sharded, if any.
    """

    num_classes: int
    momentum: float = 0.9
    dtype: Any = None
    axis: str | None = None

    @nn.compact
    def __call__(self, x: Array, labels: Array, *, train: bool = False) -> Array:
        """[B, ..., C], normalized over the batch in training, for labels [B]."""
        plain = {"use_scale": False, "use_bias": False, "axis_name": self.axis, "dtype": self.dtype}
        y = nn.BatchNorm(not train, momentum=self.momentum, **plain)(x)
        shape = self.num_classes, x.shape[-1]
        gains = self.param("scale", nn.initializers.ones, shape)
        biases = self.param("bias", nn.initializers.zeros, shape)
        # Rows by a product: the gradient of a lookup adds up in no fixed order on a GPU.
        classes = jax.nn.one_hot(labels, self.num_classes)
        gain, bias = (
            jnp.dot(classes, table, precision=jax.lax.Precision.HIGHEST)
            .reshape(len(x), *(1,) * (x.ndim - 2), -1)
            .astype(y.dtype)
            for table in (gains, biases)
        )
        return y * gain + bias
