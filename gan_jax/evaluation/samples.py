"""The samples by which a run is judged."""

from collections.abc import Callable, Iterable

import numpy as np

from gan_jax import generate
from gan_jax.evaluation.named import Judge
from gan_jax.gan import Gan
from gan_jax.parts import Parts

Progress = Callable[[Iterable[int]], Iterable[int]]


def samples_for(judge: Judge, gan: Gan, progress: Progress = iter) -> np.ndarray:
    """The samples that a judge takes: as many, by its seed, and like the real images that it knows the labels of."""
    return samples_like(gan, judge.num, judge.seed, judge.train_labels, progress)


def samples_like(
    gan: Gan,
    num: int,
    seed: int,
    labels: np.ndarray | None,
    progress: Progress = iter,
) -> np.ndarray:
    """Samples uint8 [num, H, W, C] to compare with real images of these labels, if they have any.

    Of a GAN without labels they are those that `gan_jax.sample` draws with this seed. Of a conditional one the noise is
    the same, and the classes are those of `classes_like`.
    """
    return gan.draw(gan.latents(num, seed), classes_like(gan.parts, num, labels), progress)


def classes_like(parts: Parts, num: int, labels: np.ndarray | None) -> np.ndarray | None:
    """The classes int32 [num] of these samples, in the shares of the labels [N]; None for a GAN without labels.

    All samples together are compared with all real images: in other shares a perfect generator's would be far from
    them. Labels that the GAN does not know are left out. Where none are left, each class is asked for equally often.
    Of a rare class there is one at least, if there are as many samples as classes.
    """
    in_turn, known = generate.classes(parts, num), parts.num_classes
    if in_turn is None or known is None:
        return None
    labels = np.zeros(0, np.int32) if labels is None else labels[labels < known]
    if not len(labels):
        return np.asarray(in_turn)
    # Evenly spaced among the sorted labels, and then mixed: a part of them has these shares too.
    asked = np.sort(labels)[(2 * np.arange(num) + 1) * len(labels) // (2 * num)]
    for rare in np.setdiff1d(labels, asked) if num >= known else ():
        asked[np.argmax(asked == np.bincount(asked).argmax())] = rare  # in the place of one of the commonest
    return np.random.default_rng(0).permutation(asked).astype(np.int32)
