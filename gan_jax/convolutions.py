"""4×4 stride-2 convolution and its transpose, each in the way that is fast where it runs.

On a CPU as matrix products: XLA's CPU backend leaves its fast convolutions inside loops, and a run is a loop; there a
convolution takes several times as long as the same arithmetic written as slices and one matrix product. Elsewhere as
the stock convolutions of XLA, which move half of the bytes: windows of 4 × 4 that overlap are four copies of an image.

A TPU lays arrays out in tiles of 8 × 128 numbers (16 × 128 of bfloat16) and fills them up. Layers as narrow as these
have too few channels for the 128 lanes; the batch can be there instead, and a device's share of it in multiples of 128
then wastes none.
"""

import jax
import jax.numpy as jnp
from jax import Array

# What float32 products may round to: TF32 on NVIDIA, three bfloat16 passes on a TPU, nothing on a CPU. A TPU's
# own default, a single bfloat16 pass, is what --dtype=bfloat16 asks for.
PRECISION = jax.lax.Precision.HIGH

# Below this many channels one product over all 16 taps is faster, from there on four that need no copy of them all:
# measured on a CPU.
NARROW = 16

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def strided_conv(images: Array, kernel: Array) -> Array:
    """[B, H, W, C] and [4, 4, C, F] → [B, H/2, W/2, F]: `nn.Conv` of stride 2, padding "SAME"; H and W are even."""
    if images.shape[1] % 2 or images.shape[2] % 2:
        height, width = images.shape[1:3]
        raise ValueError(f"a stride-2 convolution needs even height and width; got {height} × {width}")
    found: Array = jax.lax.platform_dependent(images, kernel, cpu=conv_as_products, default=stock_conv)
    return found


def strided_conv_transpose(images: Array, kernel: Array) -> Array:
    """[B, H, W, C] and [4, 4, C, F] → [B, 2H, 2W, F]: `nn.ConvTranspose` of stride 2, padding "SAME"."""
    found: Array = jax.lax.platform_dependent(
        images, kernel, cpu=conv_transpose_as_products, default=stock_conv_transpose
    )
    return found


def stock_conv(images: Array, kernel: Array) -> Array:
    """`strided_conv` as XLA's own."""
    return jax.lax.conv_general_dilated(
        images, kernel, (2, 2), "SAME", dimension_numbers=_LAYOUT, precision=PRECISION
    )


def stock_conv_transpose(images: Array, kernel: Array) -> Array:
    """`strided_conv_transpose` as XLA's own."""
    return jax.lax.conv_transpose(
        images, kernel, (2, 2), "SAME", dimension_numbers=_LAYOUT, precision=PRECISION
    )


def conv_as_products(images: Array, kernel: Array) -> Array:
    """`strided_conv` as one matrix product, or four.

    Two pixels side by side are one of 2·C channels, and two of those make a window's row: with rows taken in twos as
    well, every tap is a plain slice.
    """
    batch, height, width, channels = images.shape
    h, w = height // 2, width // 2
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0))).reshape(batch, h + 1, 2, w + 1, 2 * channels)
    rows = [padded[:, i : i + h, j] for i in (0, 1) for j in (0, 1)]
    windows = [jnp.concatenate([row[:, :, :w], row[:, :, 1:]], -1) for row in rows]  # 4 of [B, h, w, 4·C]
    if channels < NARROW:
        return jnp.dot(jnp.concatenate(windows, -1), kernel.reshape(16 * channels, -1), precision=PRECISION)
    matrices = kernel.reshape(4, 4 * channels, -1)
    first, *others = (jnp.dot(x, k, precision=PRECISION) for x, k in zip(windows, matrices, strict=True))
    return sum(others, first)


def conv_transpose_as_products(images: Array, kernel: Array) -> Array:
    """`strided_conv_transpose` as one matrix product, or four.

    The way of `conv_as_products` backwards: each pixel makes a window of 4 × 4, and windows are added where they
    overlap.
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
