"""`Gan`: a GAN in training or trained, as a value to sample from, to judge with and to go on from."""

import dataclasses
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from PIL import Image

from gan_jax import data, drawing, generate, paths, pictures
from gan_jax.config import Config
from gan_jax.errors import Diverged, UserError
from gan_jax.options import COUNT, SCALE, SEED, converted
from gan_jax.parts import Parts
from gan_jax.plan import Plan
from gan_jax.state import GanState

MOST_IMAGES = 1_000_000  # images at once: they are held in memory
ROUNDING = 1e-3  # how far arithmetic may take an image's floats beyond [−1, 1]


@dataclasses.dataclass(frozen=True)
class Log:
    """What a chunk of steps measured: arrays by name, the first `stop - begin` of each count.

    Those of a chunk that may still run are on the device.
    """

    begin: int
    stop: int
    columns: dict[str, Array]

    @property
    def done(self) -> bool:
        """Whether the chunk came in pieces, each of which was waited for."""
        return all(isinstance(x, np.ndarray) for x in self.columns.values())

    @cached_property
    def values(self) -> dict[str, np.ndarray]:
        """Each metric [stop - begin], once the chunk is done. Raises `Diverged` if one is not finite."""
        values = {name: np.asarray(x)[: self.stop - self.begin] for name, x in self.columns.items()}
        bad = {name: int(np.argmin(np.isfinite(x))) for name, x in values.items() if not np.isfinite(x).all()}
        if bad:
            name = min(bad, key=lambda name: bad[name])
            raise Diverged(f"step {self.begin + bad[name] + 1}: {name} is {values[name][bad[name]]}")
        return values


@dataclasses.dataclass(frozen=True, eq=False)
class Gan:
    """A GAN at one step of its training: `fit` yields them, `load` reads one. Nothing ever changes in it.

    config: what it was asked to be. parts: what that means; see `gan_jax.parts`. state: all that training changes.
    plan: the course of its run. log: what its last chunk measured, None if it was loaded.
    """

    config: Config
    parts: Parts
    state: GanState
    plan: Plan
    log: Log | None = None

    @cached_property
    def step(self) -> int:
        """Number of generator updates done."""
        return self.log.stop if self.log else int(self.state.step)

    @property
    def epoch(self) -> int:
        """The pass over the data, counted from 1, in which its last step ended; 0 before the first."""
        return self.plan.epoch(self.step)

    @cached_property
    def metrics(self) -> dict[str, float]:
        """The last chunk's means by name, `d_loss g_loss real_score fake_score` and each penalty; {} if it was loaded.

        Waits for the chunk. Raises `Diverged` if one of its numbers is not finite.
        """
        return (
            {}
            if self.log is None
            else {
                # In float64: a sum of large float32 might be infinite.
                name: float(x.mean(dtype=np.float64))
                for name, x in self.log.values.items()
            }
        )

    def sample(
        self,
        num: int = 64,
        seed: int = 0,
        label: int | None = None,
        progress: Callable[[Iterable[int]], Iterable[int]] = iter,
        *,
        truncation: float | None = None,
    ) -> np.ndarray:
        """Images uint8 [num, H, W, C], those that `gan_jax.sample --seed` draws; the first ones do not depend on `num`.

        Of a GAN of points they are points float32 [num, 2], here and below.

        label: the class of all, for a conditional GAN; by default every class in turn. progress: wraps the loop over
        batches, as tqdm does. truncation: see `paths.truncated`. Raises `UserError` for numbers that are not allowed.
        """
        z = self.latents(num, seed, truncation)
        return self.draw(z, self.classes(num, label), progress)

    def latents(self, num: int, seed: int = 0, truncation: float | None = None) -> Array:
        """The noise [num, z_dim] of `sample`."""
        converted("num", num, COUNT)
        converted("seed", seed, SEED)
        if num > MOST_IMAGES:
            raise UserError(f"--num={num} is not allowed: it must be from 1 to {MOST_IMAGES}.")
        z = generate.latents(self.parts, seed, num)
        return z if truncation is None else paths.truncated(self.parts, z, truncation)

    def interpolate(
        self,
        num: int = 8,
        steps: int = 10,
        seed: int = 0,
        label: int | None = None,
        *,
        truncation: float | None = None,
    ) -> np.ndarray:
        """Images uint8 [num, steps, H, W, C]: `num` ways from one latent to another, each within one class.

        Gaussian noise goes along the sphere, since a straight way would leave what the generator knows: see
        `paths.between`. Raises `UserError` for numbers that are not allowed.
        """
        converted("steps", steps, COUNT)
        z = paths.lines(self.parts, np.asarray(self.latents(2 * num, seed, truncation)), steps)
        labels = self.classes(num, label)
        images = self.draw(z.reshape(num * steps, -1), None if labels is None else np.repeat(labels, steps))
        return images.reshape(num, steps, *self.parts.image_shape)

    def walk(
        self,
        num: int = 16,
        stops: int = 4,
        steps: int = 20,
        seed: int = 0,
        label: int | None = None,
        *,
        truncation: float | None = None,
    ) -> np.ndarray:
        """The frames uint8 [stops·steps, num, H, W, C] of a film without an end: `num` images change side by side.

        Each goes from latent to latent as in `interpolate`, within its class, and from the last stop to the first.
        """
        converted("stops", stops, COUNT)
        converted("steps", steps, COUNT)
        z = np.asarray(self.latents(stops * num, seed, truncation)).reshape(stops, num, -1)
        z = paths.loop(self.parts, z, steps)
        labels = self.classes(num, label)
        images = self.draw(z.reshape(len(z) * num, -1), None if labels is None else np.tile(labels, len(z)))
        return images.reshape(*z.shape[:2], *self.parts.image_shape)

    def classes(self, num: int, label: int | None = None) -> Array | None:
        """The labels [num] of `sample`; None unless the GAN is conditional."""
        return generate.classes(self.parts, num, label)

    def draw(
        self,
        z: ArrayLike,
        labels: ArrayLike | None = None,
        progress: Callable[[Iterable[int]], Iterable[int]] = iter,
    ) -> np.ndarray:
        """Images uint8 [n, H, W, C] from noise [n, z_dim] and, for a conditional GAN, labels [n]."""
        z = self._checked_z(z, labels)
        return generate.draw(self.parts, self.state.sampling_variables, z, labels, progress)

    def generate(self, z: ArrayLike, labels: ArrayLike | None = None) -> Array:
        """Images float32 [n, H, W, C] in [−1, 1] from noise [n, z_dim]; differentiable, and may be traced."""
        z = self._checked_z(z, labels)
        return _apply(self.parts.generator, self.state.sampling_variables, z, _int32(labels))

    def discriminate(self, images: ArrayLike, labels: ArrayLike | None = None) -> Array:
        """D's logits float32 [n] of images [n, H, W, C], uint8 or floats in [−1, 1]; differentiable.

        Points [n, 2] are floats, and may lie anywhere. Of a packed GAN the logits are [n / pack]: examples that follow
        one another are judged together, and n is a multiple of pack. Raises `UserError` for others; of traced images
        the values are not known, and not checked.
        """
        given, images = images, jnp.asarray(images)
        if images.shape[1:] != self.parts.image_shape or not images.size:
            shape = ", ".join(map(str, self.parts.image_shape))
            raise UserError(f"images must be [n, {shape}], n at least 1, not {list(images.shape)}.")
        if len(images) % (pack := self.parts.pack):
            raise UserError(
                f"images must be a multiple of --pack={pack}, not {len(images)}: D judges {pack} at once."
            )
        self._check_labels(len(images), labels)
        if images.dtype == jnp.uint8 and not data.are_points(self.parts.image_shape):
            x = data.to_float(images)
        elif jnp.issubdtype(images.dtype, jnp.floating):
            x = images
            # 0…255 as floats would be judged without a word, and mean nothing.
            if (
                not data.are_points(self.parts.image_shape)
                and not isinstance(x, jax.core.Tracer)
                and not (most := float(np.abs(np.asarray(x)).max())) <= 1 + ROUNDING
            ):
                raise UserError(f"images of floats must be in [−1, 1], and there is ±{most:g}.")
        else:
            kind = "points must be floats"
            if not data.are_points(self.parts.image_shape):
                kind = "images must be uint8, or floats in [−1, 1]"
            raise UserError(f"{kind}, not {getattr(given, 'dtype', images.dtype)}.")
        variables = {"params": self.state.d_params, **self.state.d_stats}
        return _apply(self.parts.discriminator, variables, self.parts.packed(x), _int32(labels))

    def grid(
        self,
        num: int | None = None,
        seed: int | None = None,
        label: int | None = None,
        *,
        columns: int | None = None,
        scale: int = 1,
        truncation: float | None = None,
    ) -> Image.Image:
        """Samples as one picture, a class in each row if the GAN is conditional; a notebook shows it.

        By default that of the run itself: 64 images, or 8 of each class, of the run's own seed. Of a GAN of points it
        is the plane, with D's score behind 512 points; see `plane.picture`. scale: a pixel's width and height.
        """
        converted("scale", scale, SCALE)
        if columns is not None:
            converted("columns", columns, COUNT)
        drawn = drawing.sketch(self, num, seed, label, truncation)
        return pictures.enlarged(drawing.painting(self, drawn, columns)(), scale)

    def _checked_z(self, z: ArrayLike, labels: ArrayLike | None) -> Array:
        z = jnp.asarray(z)
        if z.ndim != 2 or z.shape[1] != self.parts.z_dim or not len(z):
            raise UserError(f"z must be [n, {self.parts.z_dim}], n at least 1, not {list(z.shape)}.")
        self._check_labels(len(z), labels)
        return z

    def _check_labels(self, num: int, labels: ArrayLike | None) -> None:
        if self.parts.num_classes is None:
            if labels is not None:
                raise UserError("labels need a conditional GAN: train with conditional=True.")
        elif labels is None or np.shape(labels) != (num,):
            raise UserError(f"a conditional GAN needs labels [{num}], one for each image.")
        elif not isinstance(labels, jax.core.Tracer):
            values = np.asarray(labels)
            # An index out of range would not fail, but draw a class that there is not.
            if values.dtype.kind not in "iu" or not ((values >= 0) & (values < self.parts.num_classes)).all():
                raise UserError(f"labels must be whole numbers from 0 to {self.parts.num_classes - 1}.")

    def __repr__(self) -> str:
        name, size = self.config.preset or self.config.loss, data.shape_words(self.parts.image_shape)
        return f"<Gan: {name}, {size}, step {self.step} of {self.plan.total}>"


@partial(jax.jit, static_argnums=0)
def _apply(net: nn.Module, variables: Any, x: Array, labels: Array | None) -> Array:
    out: Any = net.apply(variables, x, labels)
    return out


def _int32(labels: ArrayLike | None) -> Array | None:
    return None if labels is None else jnp.asarray(labels, jnp.int32)
