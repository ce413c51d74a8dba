"""A feature network: a named function from images to the vectors, and class probabilities, that metrics compare."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from gan_jax.errors import UserError

# Of the arithmetic around the nets (scaling, softmax, pooling), which no file's SHA-256 knows. Whoever changes a
# network's numbers raises it; what users have in their caches is then computed anew.
FEATURES_VERSION = 1

Applied = tuple[np.ndarray, np.ndarray | None]


class FeatureNetwork(NamedTuple):
    """A named, hashed function from images to features and class probabilities.

    `apply(images uint8 [n,H,W,C])` gives (features [n,width] float32, probabilities [n,classes] float32), NumPy;
    None in place of the latter where there are none. Beside the images it takes `batch_size`, which changes the
    result by rounding at most, and `progress`, which wraps the sequence of batches: `tqdm`, for one.

    sha256: of all its parameters. classes: how many probabilities there are, 0 for none. judges_labels: whether they
    are of the data's own labels, which Inception's are not. modes: how many of the classes are modes to be counted, all
    equally frequent in the data: stacked MNIST's 1,000, else 0.
    """

    name: str
    sha256: str
    apply: Callable[..., Applied]
    width: int
    classes: int = 0
    judges_labels: bool = False
    modes: int = 0


def batched(
    apply: Callable, batch_size: int, image_shape: tuple[int | None, int | None, int | None]
) -> Callable[..., Applied]:
    """Wrap `apply` to run in batches of one size, the last one padded: it compiles once, whatever n is.

    The result refuses, as a UserError, other than uint8 images [n, *image_shape], in which None is any size.
    """
    words = "[n," + ",".join("any" if size is None else str(size) for size in image_shape) + "]"

    def run(
        images: np.ndarray, batch_size: int = batch_size, progress: Callable[[Iterable], Iterable] = iter
    ) -> Applied:
        fits = images.ndim == 4 and all(
            wanted in (None, size) for wanted, size in zip(image_shape, images.shape[1:], strict=True)
        )
        if images.dtype != np.uint8 or not fits or len(images) == 0:
            raise UserError(f"images must be uint8 {words}, not {images.dtype} {images.shape}.")
        outputs: list[tuple[np.ndarray, np.ndarray | None]] = []
        for start in progress(range(0, len(images), batch_size)):
            batch = images[start : start + batch_size]
            padding = np.zeros((batch_size - len(batch), *images.shape[1:]), images.dtype)
            features, probabilities = apply(np.concatenate([batch, padding]))
            cut = lambda x: None if x is None else np.asarray(x)[: len(batch)]  # noqa: B023
            outputs.append((np.asarray(features)[: len(batch)], cut(probabilities)))
        seen = [probabilities for _, probabilities in outputs if probabilities is not None]
        return np.concatenate([features for features, _ in outputs]), np.concatenate(seen) if seen else None

    return run


def fitting_batch(images_of_28: int, image_shape: tuple[int, ...]) -> int:
    """A batch size whose activations take the memory that `images_of_28` images of 28×28 take."""
    return max(1, min(images_of_28, images_of_28 * 28 * 28 // (image_shape[0] * image_shape[1])))
