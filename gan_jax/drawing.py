"""A GAN's samples as one picture: images in a grid, points in the plane.

In two halves, so that the device draws while the host paints what it drew before.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np
from jax import Array
from PIL import Image

from gan_jax import generate, pictures, plane
from gan_jax.config import Config
from gan_jax.data import MIXTURES, are_points

if TYPE_CHECKING:
    from gan_jax.gan import Gan

Painting = Callable[[], Image.Image]  # what is left to do on the host


class Sketch(NamedTuple):
    """What a picture is made of, still on the device.

    batches: the samples, as `generate.draw` makes them, of which the first `num` count. labels: theirs, if any.
    scores: of points, D's over the plane.
    """

    batches: list[Array]
    num: int
    labels: Array | None
    scores: Array | None


def sketch(
    gan: "Gan",
    num: int | None = None,
    seed: int | None = None,
    label: int | None = None,
    truncation: float | None = None,
) -> Sketch:
    """The samples of a picture; by default those of the run's own pictures."""
    num = generate.grid_size(gan.parts) if num is None else num
    z = gan.latents(num, gan.config.seed if seed is None else seed, truncation)
    labels = gan.classes(num, label)
    inputs = generate.batches(z, labels)
    drawn = [generate.generate(gan.parts, gan.state.sampling_variables, *batch) for batch in inputs]
    scores = None
    if are_points(gan.parts.image_shape):
        variables = {"params": gan.state.d_params, **gan.state.d_stats}
        # One batch tells enough of the mean logit.
        first = min(num, generate.BATCH)
        some = None if labels is None else labels[:first]
        scores = plane.surface(gan.parts, variables, drawn[0][:first], some)
    return Sketch(drawn, num, labels, scores)


def painting(gan: "Gan", drawn: Sketch, columns: int | None = None) -> Painting:
    """Waits for what was drawn; paints it when it is called, images in so many columns, or in those that suit."""
    samples = np.concatenate(jax.device_get(drawn.batches))[: drawn.num]
    if drawn.scores is None:
        images, suiting = generate.arranged(gan.parts, samples, drawn.labels)
        return partial(pictures.grid, images, columns or suiting)
    labels = None if drawn.labels is None else np.asarray(drawn.labels)
    scores = np.asarray(drawn.scores)
    return partial(plane.picture, samples, labels, scores=scores, mixture=MIXTURES.get(gan.config.dataset))


def real(config: Config, examples: np.ndarray) -> Image.Image:
    """The first images or points of a data set, as the run's pictures show generated ones."""
    if are_points(examples.shape[1:]):
        return plane.picture(examples[: generate.POINTS], mixture=MIXTURES.get(config.dataset))
    return pictures.grid(examples[: generate.COLUMNS**2])


def shown_beside(gan: "Gan", num: int) -> np.ndarray:
    """What shows a GAN among others: `num` images uint8 [num, H, W, C]; of points the plane, uint8 [1, H, W, 3]."""
    if are_points(gan.parts.image_shape):
        return np.asarray(gan.grid())[None]
    return gan.sample(num, gan.config.seed)
