"""Points in the plane as a picture: D's score behind them, and the modes of their mixture.

Always of the same part of the plane, so that the pictures of a run make an animation.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from PIL import Image, ImageDraw

from gan_jax.data import Mixture
from gan_jax.metrics.modes import HIGH_QUALITY
from gan_jax.parts import Parts

EXTENT = 1.25  # the picture shows [−EXTENT, EXTENT]²; real points lie within [−1, 1]²
RESOLUTION = 64  # of D's score, along each axis
SIZE = 480  # pixels along each axis
DOT = 1.8  # pixels, the radius of a point
SMOOTH = 2  # the picture is drawn so many times larger, and reduced: dots and circles are then smooth

# D's score: taken for generated, undecided, taken for real. Dark points stand out from all three.
COLOURS = np.array([[120, 160, 215], [248, 248, 248], [245, 170, 95]], np.float64)
FAINTEST = 0.05  # a score that differs less from ½ all over the plane is not made to look like more
BLACK, MODE = (0, 0, 0), (20, 120, 60)
CLASSES = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#17becf", "#bcbd22")


@partial(jax.jit, static_argnums=0)
def surface(parts: Parts, variables: Any, fake: Array, labels: Array | None) -> Array:
    """D's score over the plane, [RESOLUTION, RESOLUTION] with the highest row first: what the log calls a real score.

    Some losses see only the difference of a real and a generated logit; it is then that from the mean logit of `fake`
    [n, 2]. Of a conditional GAN it is the score of the class that suits each place best.
    """
    axis = jnp.linspace(-EXTENT, EXTENT, RESOLUTION)
    x, y = jnp.meshgrid(axis, -axis)
    plane = jnp.stack([x, y], -1).reshape(-1, 2)

    def judge(points: Array, labels: Array | None) -> Array:
        packs = parts.packed(jnp.repeat(points, parts.pack, 0))  # of a packed GAN: of as many equal points
        logits: Any = parts.discriminator.apply(variables, packs, labels)
        return logits

    if parts.num_classes is None:
        logits = judge(plane, None)
    else:
        of_class = lambda c: judge(plane, jnp.full(len(plane), c))
        logits = jax.lax.map(of_class, jnp.arange(parts.num_classes)).max(0)
    mean = jnp.mean(judge(fake, labels))
    score = lambda logit: parts.objective.score(logit[None], mean[None])[0]
    return jax.vmap(score)(logits).reshape(RESOLUTION, RESOLUTION)


def picture(
    points: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    scores: np.ndarray | None = None,
    mixture: Mixture | None = None,
    size: int = SIZE,
) -> Image.Image:
    """Points [N, 2] as dots, in the colours of their labels [N] if there are any, as a picture of `size`² pixels.

    scores: what `surface` gave: blue where D takes a point for generated, orange for real, white where it cannot tell,
    stretched to the strongest. mixture: its modes are circles, within which a point is of high quality.
    """
    large = size * SMOOTH
    drawn = Image.new("RGB", (large, large), "white") if scores is None else _background(scores, large)
    pen = ImageDraw.Draw(drawn, "RGBA")
    scale = large / (2 * EXTENT)

    def circle(at: np.ndarray, radius: float, **how: Any) -> None:
        x, y = (at[0] + EXTENT) * scale, (EXTENT - at[1]) * scale
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), **how)

    if mixture is not None:
        for mean in mixture.means:
            circle(mean, HIGH_QUALITY * mixture.sd * scale + 2 * SMOOTH, outline=MODE, width=2 * SMOOTH)
    near = np.abs(points).max(1) <= EXTENT if len(points) else np.zeros(0, bool)
    for i in np.flatnonzero(near):
        colour = BLACK if labels is None else _rgb(CLASSES[int(labels[i]) % len(CLASSES)])
        circle(points[i], DOT * SMOOTH * size / SIZE, fill=(*colour, 130))
    return drawn.resize((size, size), Image.Resampling.BOX)


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def _background(scores: np.ndarray, size: int) -> Image.Image:
    away = scores - 0.5
    strongest = max(float(np.abs(away).max()), FAINTEST)
    place = (away / strongest).ravel()
    channels = [np.interp(place, [-1, 0, 1], COLOURS[:, i]) for i in range(3)]
    small = np.stack(channels, -1).reshape(*scores.shape, 3).round().astype(np.uint8)
    return Image.fromarray(small).resize((size, size), Image.Resampling.BILINEAR)
