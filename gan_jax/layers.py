"""Layers: dense, 4×4 stride-2 convolution and its transpose as matrix products, each with spectral norm on request.

XLA's CPU backend leaves its fast convolutions inside loops, and a run is a loop: `nn.Conv` there takes several
times as long as the same arithmetic written as slices and one matrix product. Parameters have the names, shapes
and meaning of `nn.Dense`'s, `nn.Conv`'s and `nn.ConvTranspose`'s, so that either can load the other's.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import Array

Initializer = jax.nn.initializers.Initializer

# What float32 products may round to: TF32 on NVIDIA, three bfloat16 passes on a TPU, nothing on a CPU. A TPU's
# own default, a single bfloat16 pass, is what --dtype=bfloat16 asks for.
PRECISION = jax.lax.Precision.HIGH


# Below this many channels one product over all 16 taps is faster, from there on four that need no copy of them all:
# measured on a CPU.
NARROW = 16


def dense(x: Array, kernel: Array) -> Array:
    """[B, C] and [C, F] → [B, F]."""
    return jnp.dot(x, kernel, precision=PRECISION)


def strided_conv(images: Array, kernel: Array) -> Array:
    """[B, H, W, C] and [4, 4, C, F] → [B, H/2, W/2, F]: `nn.Conv` of stride 2, padding "SAME"; H and W are even.

    Two pixels side by side are one of 2·C channels, and two of those make a window's row: with rows taken in twos as
    well, every tap is a plain slice.
    """
    batch, height, width, channels = images.shape
    if height % 2 or width % 2:
        raise ValueError(f"a stride-2 convolution needs even height and width; got {height} × {width}")
    h, w = height // 2, width // 2
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0))).reshape(batch, h + 1, 2, w + 1, 2 * channels)
    rows = [padded[:, i : i + h, j] for i in (0, 1) for j in (0, 1)]
    windows = [jnp.concatenate([row[:, :, :w], row[:, :, 1:]], -1) for row in rows]  # 4 of [B, h, w, 4·C]
    if channels < NARROW:
        return jnp.dot(jnp.concatenate(windows, -1), kernel.reshape(16 * channels, -1), precision=PRECISION)
    matrices = kernel.reshape(4, 4 * channels, -1)
    first, *others = (jnp.dot(x, k, precision=PRECISION) for x, k in zip(windows, matrices, strict=True))
    return sum(others, first)


def strided_conv_transpose(images: Array, kernel: Array) -> Array:
    """[B, H, W, C] and [4, 4, C, F] → [B, 2H, 2W, F]: `nn.ConvTranspose` of stride 2, padding "SAME".

    The way of `strided_conv` backwards: each pixel makes a window of 4 × 4, and windows are added where they overlap.
    """
    batch, height, width, channels = images.shape
    features = kernel.shape[-1]
    matrices = kernel[::-1, ::-1].transpose(0, 2, 1, 3).reshape(4, channels, 4 * features)
    if features < NARROW:
        matrix = matrices.transpose(1, 0, 2).reshape(channels, 16 * features)
        windows = jnp.split(jnp.dot(images, matrix, precision=PRECISION), 4, -1)
    else:
        windows = [jnp.dot(images, matrix, precision=PRECISION) for matrix in matrices]
    halves = [jnp.split(window, 2, -1) for window in windows]
    rows = [_overlapped(left, right, 2) for left, right in halves]  # 4 of [B, H, W + 1, 2·F]
    pairs = [_overlapped(rows[j], rows[2 + j], 1) for j in (0, 1)]  # 2 of [B, H + 1, W + 1, 2·F]
    padded = jnp.stack(pairs, 2).reshape(batch, 2 * height + 2, 2 * width + 2, features)
    return padded[:, 1:-1, 1:-1]


def _overlapped(first: Array, second: Array, axis: int) -> Array:
    """The sum of two arrays, the second one place further along an axis: one place longer than they are."""
    pad = lambda x, low: jnp.pad(x, [(low, 1 - low) if i == axis else (0, 0) for i in range(x.ndim)])
    return pad(first, 0) + pad(second, 1)


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
        if self.spectral_norm:
            # The product is divided, not the kernel: it is the same, and far smaller.
            y = (y / self.sigma(kernel, update)).astype(y.dtype)
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,)).astype(y.dtype)
            y = y + bias.reshape((1,) * (y.ndim - 1) + (-1,))
        return y

    def sigma(self, kernel: Array, update: bool) -> Array:
        """The largest singular value of the kernel as a matrix [·, features]: Miyato 2018, algorithm 1.

        One step of power iteration an update, from where the last one ended, follows a kernel that changes slowly.
        """
        matrix = kernel.reshape(-1, kernel.shape[-1])
        start = lambda: _unit(jax.random.normal(self.make_rng("params"), (self.features,)))
        u = self.variable("spectral", "u", start)
        fixed = jax.lax.stop_gradient(matrix)
        v = _unit(_exact(fixed, u.value))
        if update:
            u.value = _unit(_exact(v, fixed))
        return _exact(v, _exact(matrix, u.value))


def _exact(a: Array, b: Array) -> Array:
    # Small products, of a state that carries its errors on.
    return jnp.dot(a, b, precision=jax.lax.Precision.HIGHEST)


def _unit(x: Array) -> Array:
    return x / (jnp.linalg.norm(x) + 1e-12)


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
