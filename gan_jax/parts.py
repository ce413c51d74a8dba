"""What a config means: a run's `Parts`, built once and taken by everything below it.

Parts hold nothing that members of a population may differ in (seed, rates, weights): those are arrays in the state.
They compare and hash by what they are made of, so that a program compiled for one run serves the next of equal parts,
and never one whose net or loss was defined anew under the same name.
"""

import dataclasses
import math
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from gan_jax import part_checks
from gan_jax.augmentations import AUGMENTATIONS, Augmentation
from gan_jax.config import Config
from gan_jax.data.scaling import are_points
from gan_jax.errors import UserError
from gan_jax.labels import check_without_gaps
from gan_jax.models import Spec
from gan_jax.objectives import OBJECTIVES, Objective
from gan_jax.optimizers import OPTIMIZERS, Optimizer, Schedule, schedule_of
from gan_jax.penalties import PENALTIES, Penalty
from gan_jax.storage import sha256_of_data


class Facts(NamedTuple):
    """What a run knows of its images besides their pixels.

    image_shape: of one example, [H, W, C], or [2] of a point. num_images: of the train split. num_classes: labels are
    below it; None without labels. sha256: of the images and labels.
    """

    image_shape: tuple[int, ...]
    num_images: int
    num_classes: int | None
    sha256: str

    @property
    def num_bytes(self) -> int:
        """Of the images; a point's numbers take four bytes each."""
        return math.prod((self.num_images, *self.image_shape)) * (4 if are_points(self.image_shape) else 1)


def facts_of(images: np.ndarray, labels: np.ndarray | None, *, conditional: bool = False) -> Facts:
    """The facts of uint8 images [N, H, W, C] or points float32 [N, 2] in [−1, 1], and integer labels [N].

    Raises `UserError` for other arrays, and for labels with gaps where a `conditional` GAN learns them.
    """
    if images.ndim == 2:
        _check_points(images)
    elif images.ndim != 4 or images.dtype != np.uint8 or 0 in images.shape:
        raise UserError(
            f"images must be uint8 [N, H, W, C], N at least 1, not {images.dtype} {list(images.shape)}."
        )
    if labels is not None and (
        labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0
    ):
        raise UserError(
            f"labels must be whole numbers from 0 on, one for each of the {len(images)} images, "
            f"not {labels.dtype} {list(labels.shape)}."
        )
    if labels is not None and conditional:
        check_without_gaps(labels)
    num_classes = None if labels is None else int(labels.max()) + 1
    return Facts(images.shape[1:], len(images), num_classes, sha256_of_data(images, labels))


def _check_points(points: np.ndarray) -> None:
    if points.dtype != np.float32 or points.shape[1] != 2 or not len(points):
        raise UserError(
            f"points must be float32 [N, 2], N at least 1, not {points.dtype} {list(points.shape)}; images are uint8 "
            "[N, H, W, C]."
        )
    # The pictures show this part of the plane; "not … <=" since a NaN is no point either.
    if not (most := float(np.abs(points).max())) <= 1:
        raise UserError(f"points must lie in [−1, 1], and there is ±{most:g}: divide them by a constant.")


@dataclasses.dataclass(frozen=True)
class Parts:
    """A GAN's nets, objective, penalties and optimizer, and the sizes that its step is compiled for.

    penalty_every: each so many-th step has the penalties. augmentations: what each image goes through before D sees it.
    image_shape: [H, W, C], or [2] of points.
    num_classes: of a conditional GAN's labels, None for others. pack: how many images D takes as one. ema, clip,
    grad_clip: whether there are averaged weights, and clipping of weights or gradients; how much is in the state.
    log_gradients: whether the gradients' norms are among the metrics.
    axis: the device axis over which a batch is sharded, if any.
    """

    generator: nn.Module
    discriminator: nn.Module
    objective: Objective
    penalties: tuple[tuple[str, Penalty], ...]
    penalty_every: int
    augmentations: tuple[tuple[str, Augmentation], ...]
    optimizer: Optimizer
    schedule: Schedule
    image_shape: tuple[int, ...]
    num_classes: int | None
    z_dim: int
    z_distribution: str
    batch_size: int
    d_steps: int
    pack: int
    ema: bool
    clip: bool
    grad_clip: bool
    log_gradients: bool
    axis: str | None

    def g_inputs(self, batch: int) -> tuple[Array, Array | None]:
        """Zeros in the shape of the generator's inputs: z [batch, z_dim] and labels."""
        return jnp.zeros((batch, self.z_dim)), self._labels(batch)

    def d_inputs(self, batch: int) -> tuple[Array, Array | None]:
        """Zeros in the shape of the discriminator's inputs: packs of images [batch, H, W, pack·C] and labels."""
        return self.packed(jnp.zeros((batch * self.pack, *self.image_shape))), self._labels(batch)

    def packed(self, images: Array) -> Array:
        """Images [B, H, W, C] as the discriminator takes them, [B / pack, H, W, pack·C]: Lin 2018, §3.

        Images that follow one another become the channels of one: batches are in random order.
        """
        if self.pack == 1:
            return images
        *space, channels = self.image_shape
        packs = images.reshape(-1, self.pack, *self.image_shape)
        return jnp.moveaxis(packs, 1, -2).reshape(-1, *space, self.pack * channels)

    def _labels(self, batch: int) -> Array | None:
        return None if self.num_classes is None else jnp.zeros(batch, jnp.int32)


def build(
    config: Config, image_shape: tuple[int, ...], num_classes: int | None, axis: str | None = None
) -> Parts:
    """The parts of a run on images [H, W, C], or on points [2], with labels below `num_classes`, or without labels.

    Raises:
      UserError: for a conditional run without labels, augmented points, nets that do not suit the images, nets that
        take no notice of labels or spectral norm where the config asks for them, and parts that fail or are not what
        they must be.
    """
    if config.conditional and num_classes is None:
        raise UserError(
            "a conditional GAN needs labels, and these images have none: leave --conditional out, or the preset that "
            "has it, or give --no_conditional."
        )
    if config.augment and are_points(image_shape):
        raise UserError("--augment is for images, and the examples are points in the plane: leave it out.")
    spec = Spec(
        image_shape=image_shape,
        num_classes=num_classes if config.conditional else None,
        spectral_norm=config.spectral_norm,
        dtype=jnp.dtype(config.dtype),
        axis=axis,
    )
    nets = part_checks.nets(config.model, spec, config.pack)
    parts = Parts(
        generator=nets.generator,
        discriminator=nets.discriminator,
        objective=OBJECTIVES[config.loss],
        penalties=tuple((name, PENALTIES[name]) for name in config.penalty),
        penalty_every=config.penalty_every,
        augmentations=tuple((name, AUGMENTATIONS[name]) for name in config.augment),
        optimizer=OPTIMIZERS[config.optimizer],
        schedule=schedule_of(config.schedule),
        image_shape=image_shape,
        num_classes=spec.num_classes,
        z_dim=config.z_dim,
        z_distribution=config.z_distribution,
        batch_size=config.batch_size,
        d_steps=config.d_steps,
        pack=config.pack,
        ema=bool(config.ema),
        clip=bool(config.clip),
        grad_clip=bool(config.grad_clip),
        log_gradients=config.log_gradients,
        axis=axis,
    )
    part_checks.check_parts(config, parts, spec)
    return parts
