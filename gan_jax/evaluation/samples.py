"""The samples by which a run is judged."""

from collections.abc import Callable, Iterable

import numpy as np

from gan_jax.gan import Gan


def samples_like(
    gan: Gan,
    num: int,
    seed: int,
    labels: np.ndarray | None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> np.ndarray:
    """Samples uint8 [num, H, W, C] to compare with real images of these labels, if they have any.

    They are those that `gan_jax.sample` draws with this seed. Of a conditional GAN they are of the classes of
    `classes_like`.
    """
    return gan.draw(gan.latents(num, seed), classes_like(gan, num, labels), progress)


def classes_like(gan: Gan, num: int, labels: np.ndarray | None) -> np.ndarray | None:
    """The classes int32 [num] of these samples, in the shares of the labels [N]; None for a GAN without labels.

    All samples together are compared with all real images: in other shares a perfect generator's would be far from
    them. Where there are no labels, each class is asked for equally often.
    """
    in_turn = gan.classes(num)
    if in_turn is None or labels is None:
        return None if in_turn is None else np.asarray(in_turn)
    # Evenly spaced among the sorted labels, and then mixed: a part of them has these shares too.
    chosen = (2 * np.arange(num) + 1) * len(labels) // (2 * num)
    return np.random.default_rng(0).permutation(np.sort(labels)[chosen]).astype(np.int32)
