"""What a config means: a run's `Parts`, built once and taken by everything below it.

Parts hold nothing that members of a population may differ in (seed, rates, weights): those are arrays in the state.
They compare and hash by what they are made of, so that a program compiled for one run serves the next of equal parts,
and never one whose net or loss was defined anew under the same name.
"""

import dataclasses
import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.models import MODELS, Networks, Spec
from gan_jax.objectives import OBJECTIVES, Objective
from gan_jax.optimizers import OPTIMIZERS, SCHEDULES, Optimizer, Schedule
from gan_jax.penalties import PENALTIES, Penalty
from gan_jax.penalties import apply as apply_penalty
from gan_jax.storage import sha256_of_data


class Facts(NamedTuple):
    """What a run knows of its images besides their pixels.

    image_shape: [H, W, C]. num_images: of the train split. num_classes: labels are below it; None without labels.
    sha256: of the images and labels.
    """

    image_shape: tuple[int, int, int]
    num_images: int
    num_classes: int | None
    sha256: str

    @property
    def num_bytes(self) -> int:
        """Of the images."""
        return math.prod((self.num_images, *self.image_shape))


def facts_of(images: np.ndarray, labels: np.ndarray | None) -> Facts:
    """The facts of uint8 images [N, H, W, C] and integer labels [N]. Raises `UserError` for other arrays."""
    if images.ndim != 4 or images.dtype != np.uint8 or 0 in images.shape:
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
    height, width, channels = images.shape[1:]
    num_classes = None if labels is None else int(labels.max()) + 1
    return Facts((height, width, channels), len(images), num_classes, sha256_of_data(images, labels))


@dataclasses.dataclass(frozen=True)
class Parts:
    """A GAN's nets, objective, penalties and optimizer, and the sizes that its step is compiled for.

    image_shape: [H, W, C]. num_classes: of a conditional GAN's labels, None for others.
    ema, clip, grad_clip: whether there are averaged weights, and clipping of weights or gradients; how much is in
    the state. axis: the device axis over which a batch is sharded, if any.
    """

    generator: nn.Module
    discriminator: nn.Module
    objective: Objective
    penalties: tuple[tuple[str, Penalty], ...]
    optimizer: Optimizer
    schedule: Schedule | None
    image_shape: tuple[int, int, int]
    num_classes: int | None
    z_dim: int
    z_distribution: str
    batch_size: int
    d_steps: int
    ema: bool
    clip: bool
    grad_clip: bool
    axis: str | None

    def g_inputs(self, batch: int) -> tuple[Array, Array | None]:
        """Zeros in the shape of the generator's inputs: z [batch, z_dim] and labels."""
        return jnp.zeros((batch, self.z_dim)), self._labels(batch)

    def d_inputs(self, batch: int) -> tuple[Array, Array | None]:
        """Zeros in the shape of the discriminator's inputs: images [batch, H, W, C] and labels."""
        return jnp.zeros((batch, *self.image_shape)), self._labels(batch)

    def _labels(self, batch: int) -> Array | None:
        return None if self.num_classes is None else jnp.zeros(batch, jnp.int32)


def build(
    config: Config, image_shape: tuple[int, int, int], num_classes: int | None, axis: str | None = None
) -> Parts:
    """The parts of a run on images [H, W, C] with labels below `num_classes`, or without labels.

    Raises:
      UserError: for a conditional run without labels, nets that do not suit the images, nets that take no notice
        of labels or spectral norm where the config asks for them, or losses and penalties that are no scalars.
    """
    if config.conditional and num_classes is None:
        raise UserError("--conditional needs labels, and these images have none: leave it out.")
    spec = Spec(
        image_shape=image_shape,
        num_classes=num_classes if config.conditional else None,
        spectral_norm=config.spectral_norm,
        dtype=jnp.dtype(config.dtype),
        axis=axis,
    )
    nets = MODELS[config.model](spec)
    parts = Parts(
        generator=nets.generator,
        discriminator=nets.discriminator,
        objective=OBJECTIVES[config.loss],
        penalties=tuple((name, PENALTIES[name]) for name in config.penalty),
        optimizer=OPTIMIZERS[config.optimizer],
        schedule=SCHEDULES[config.schedule],
        image_shape=image_shape,
        num_classes=spec.num_classes,
        z_dim=config.z_dim,
        z_distribution=config.z_distribution,
        batch_size=config.batch_size,
        d_steps=config.d_steps,
        ema=bool(config.ema),
        clip=bool(config.clip),
        grad_clip=bool(config.grad_clip),
        axis=axis,
    )
    plain = (
        MODELS[config.model](dataclasses.replace(spec, spectral_norm=False)) if config.spectral_norm else None
    )
    _check_nets(config.model, parts, plain)
    _check_scalars(config.loss, parts)
    return parts


def _check_nets(model: str, parts: Parts, plain: Networks | None) -> None:
    """Raises `UserError` for nets of other shapes, or deaf to what is asked of them.

    Whatever is wrong would train all the same, and nobody would see it in the losses. `plain`: the nets without
    spectral norm, where it is asked for.
    """
    key = jax.random.key(0)
    for net, inputs, shape in (
        (parts.generator, parts.g_inputs(2), (2, *parts.image_shape)),
        (parts.discriminator, parts.d_inputs(2), (2,)),
    ):
        made, variables = jax.eval_shape(net.init_with_output, key, *inputs)
        kind = type(net).__name__
        if getattr(made, "shape", None) != shape:
            found = getattr(made, "shape", type(made).__name__)
            raise UserError(
                f"--model={model}: {kind} must give {list(shape)} for a batch of 2, and gives {found}."
            )
        if inputs[1] is not None and not _depends(net, variables, *inputs):
            raise UserError(
                f"--model={model}: {kind} takes no notice of labels, which --conditional needs: use them, or leave "
                "--conditional out."
            )
    if plain is not None:
        x, labels = parts.d_inputs(2)
        trace = lambda net: str(jax.make_jaxpr(net.init_with_output)(key, x, labels))
        if trace(parts.discriminator) == trace(plain.discriminator):
            raise UserError(
                f"--model={model}: {type(parts.discriminator).__name__} takes no notice of spectral norm: build it "
                "of gan_jax.layers, or give --no_spectral_norm."
            )


def _check_scalars(loss: str, parts: Parts) -> None:
    """Raises `UserError` for losses, scores or penalties that are no scalars: a mean is easily forgotten."""
    logits = jnp.zeros(2)
    made = {f"--loss={loss}: {name}": getattr(parts.objective, name) for name in ("d_loss", "g_loss")}
    outs = {name: jax.eval_shape(function, logits, logits) for name, function in made.items()}
    for i, score in enumerate(jax.eval_shape(parts.objective.score, logits, logits)):
        outs[f"--loss={loss}: score number {i + 1}"] = score
    images, d_apply = parts.d_inputs(2)[0], lambda images: images.reshape(len(images), -1).sum(1)
    for name, penalty in parts.penalties:
        call = lambda real, fake, key, penalty=penalty: apply_penalty(penalty, d_apply, real, fake, key, None)
        outs[f"--penalty={name}: it"] = jax.eval_shape(call, images, images, jax.random.key(0))
    for name, out in outs.items():
        if getattr(out, "shape", None) != ():
            found = getattr(out, "shape", type(out).__name__)
            raise UserError(f"{name} must give a scalar, and gives {found} for a batch of 2: take the mean.")


def _depends(net: nn.Module, variables: object, x: Array, labels: Array | None) -> bool:
    """Whether any output of the net is computed from its labels: the trace is followed from them on."""
    closed = jax.make_jaxpr(lambda labels, variables, x: net.apply(variables, x, labels))(
        labels, variables, x
    )
    reached = {closed.jaxpr.invars[0]}
    for equation in closed.jaxpr.eqns:
        if any(x in reached for x in equation.invars if not hasattr(x, "val")):  # literals do not hash
            reached.update(equation.outvars)
    return any(x in reached for x in closed.jaxpr.outvars if not hasattr(x, "val"))
