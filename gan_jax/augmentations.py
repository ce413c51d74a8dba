"""Differentiable augmentation: what D sees of an image is the image after a random transform, in both nets' updates.

Zhao 2020 (DiffAugment), eq. 5 to 7. Real and generated images go through it alike, and G's gradient comes back
through it. So D sees each real image in many forms and cannot learn it by heart, and G gains nothing by drawing
transformed images. An augmentation says how many numbers it draws for an image, and what it does with them; to add
one, write it and add an entry to `AUGMENTATIONS`.

What a transform brings into an image, or puts in place of what it cuts out, is black: −1, a pixel of 0 in the data,
and the background of digits and clothes. The paper's programs pad with 0, which is black where images are in [0, 1] and
mid-grey where they are in [−1, 1]. Grey shows D what is hidden, so that G cannot pass for hidden what it fails to draw;
but it is also an edge that no image has. `experiments.ablation` has both.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gan_jax import axis as over
from gan_jax.errors import UserError

BLACK, GREY = -1.0, 0.0


class Augmentation(NamedTuple):
    """A random transform of images.

    draws: how many numbers from U[0, 1) it takes for each image. apply: (these numbers [B, draws], images
    [B, H, W, C] in [−1, 1], or beyond after another one) -> images of the same shape, each by its own numbers alone;
    differentiable, by the images.
    """

    draws: int
    apply: Callable[[Array, Array], Array]


def augmented(
    augmentations: Sequence[tuple[str, Augmentation]], key: Array, axis: str | None, *batches: Array
) -> tuple[Array, ...]:
    """The batches [B, H, W, C] after all augmentations in turn; the i-th image of each is transformed alike.

    Alike, since what a penalty mixes of two images is then again an image under a single transform. The numbers are
    drawn for the batch of all devices on the `axis`.
    """
    counts = [augmentation.draws for _, augmentation in augmentations]
    uniform = jax.random.uniform(key, (len(batches[0]) * over.size(axis), sum(counts)))
    uniform, begin = over.local(uniform, axis), 0
    for (_, augmentation), count in zip(augmentations, counts, strict=True):
        own, begin = uniform[:, begin : begin + count], begin + count
        batches = tuple(augmentation.apply(own, batch) for batch in batches)
    return batches


def _below(uniform: Array, count: int) -> Array:
    """Whole numbers from 0 to count − 1, int32 in the shape of numbers from U[0, 1)."""
    return jnp.minimum((uniform * count).astype(jnp.int32), count - 1)  # the product may round up


def _cropped(images: Array, offset: Array, most: int, axis: int, fill: float) -> Array:
    """Images moved along an axis, by `most` forth to `most` back as their offset [B] from 0 to 2·most says.

    Bit by bit: shifts by 1, 2, 4, … are slices, each taken or not, where an image's own slice would be a gather, whose
    gradient adds up in no fixed order on a GPU.
    """
    bits = (2 * most).bit_length()
    pad = [(0, 0)] * images.ndim
    pad[axis] = (most, 2**bits - 1 - most)
    x = jnp.pad(images, pad, constant_values=fill)
    offset = offset.reshape(-1, *(1,) * (images.ndim - 1))
    for bit in reversed(range(bits)):
        length = x.shape[axis] - 2**bit
        taken = jax.lax.slice_in_dim(x, 2**bit, None, axis=axis)
        x = jnp.where((offset >> bit) & 1 == 1, taken, jax.lax.slice_in_dim(x, 0, length, axis=axis))
    return x


def _translated(uniform: Array, images: Array, fill: float) -> Array:
    """Moved by up to an eighth of the height and width, in whole pixels: Zhao 2020, §3.2."""
    for axis in (1, 2):
        most = int(images.shape[axis] / 8 + 0.5)
        images = _cropped(images, _below(uniform[:, axis - 1], 2 * most + 1), most, axis, fill)
    return images


def _cut(uniform: Array, images: Array, fill: float) -> Array:
    """Without a rectangle of half the height and width, whose centre lies anywhere in the image: Zhao 2020, §3.2."""
    cut: Array | bool = True
    for axis in (1, 2):
        size = images.shape[axis]
        hole = int(size / 2 + 0.5)
        begin = _below(uniform[:, axis - 1], size + 1 - hole % 2) - hole // 2
        at = jnp.arange(size)[None] - begin[:, None]
        shape = [len(images), 1, 1, 1]
        shape[axis] = size
        cut = cut & ((at >= 0) & (at < hole)).reshape(shape)
    return jnp.where(cut, fill, images)


def _colored(uniform: Array, images: Array) -> Array:
    """Brightness moved by up to ½, saturation times 0 to 2, contrast times ½ to 1½: Zhao 2020, §3.2.

    Raises `UserError` for images that are not coloured: a digit in grey could be drawn in grey, too.
    """
    if images.shape[-1] != 3:
        raise UserError(f"it is for images of 3 channels, and these have {images.shape[-1]}.")
    brightness, saturation, contrast = jnp.moveaxis(uniform[:, :, None, None, None], 1, 0)
    x = images + (brightness - 0.5)
    grey = jnp.mean(x, -1, keepdims=True)
    x = grey + (x - grey) * (2.0 * saturation)
    mean = jnp.mean(x, (1, 2, 3), keepdims=True)
    return mean + (x - mean) * (contrast + 0.5)


def translation(fill: float = BLACK) -> Augmentation:
    """Moves an image by up to an eighth of its height and width."""
    return Augmentation(2, functools.partial(_translated, fill=fill))


def cutout(fill: float = BLACK) -> Augmentation:
    """Hides a rectangle of half an image's height and width."""
    return Augmentation(2, functools.partial(_cut, fill=fill))


AUGMENTATIONS: dict[str, Augmentation] = {
    "translation": translation(),
    "cutout": cutout(),
    "color": Augmentation(3, _colored),
}
