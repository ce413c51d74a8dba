"""Generator and discriminator pairs, in Flax linen.

A generator maps z [B, z_dim] to images [B, H, W, C] in [−1, 1]; a discriminator maps images to logits [B]. Both
take, for conditional GANs, labels [B], and `train`: whether batch statistics are used, state is moved on and dropout
drops (its rng is "dropout"). To add a pair, write two modules and add a function to `MODELS` that builds them;
`with_label` or `normalized`, and `judged`, make them conditional.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from gan_jax.data.scaling import are_points
from gan_jax.errors import UserError
from gan_jax.layers import ClassBatchNorm, Dense, StridedConv, StridedConvTranspose


class Networks(NamedTuple):
    """The two modules of a GAN."""

    generator: nn.Module
    discriminator: nn.Module


@dataclasses.dataclass(frozen=True)
class Spec:
    """What a run asks of its nets.

    image_shape: [H, W, C], or [2] of points. num_classes: of the labels, None without them.
    spectral_norm: of every kernel of D. dtype: of the arithmetic; parameters, statistics, images, logits are float32.
    axis: the device axis over which a batch is sharded, if any.
    """

    image_shape: tuple[int, ...]
    num_classes: int | None = None
    spectral_norm: bool = False
    dtype: Any = jnp.float32
    axis: str | None = None


LABEL_FEATURES = 32  # width of the generator's class embedding


def with_label(spec: Spec, z: Array, labels: Array | None) -> Array:
    """z [B, z_dim], followed by the embedding of its class [B, 32] if `spec` has classes; called in a generator.

    Raises ValueError if there are classes and no labels.
    """
    if spec.num_classes is None:
        return z
    if labels is None:
        raise ValueError("a conditional net needs labels")
    # An embedding, as a product: the gradient of a lookup adds up in no fixed order on a GPU.
    embed = Dense(LABEL_FEATURES, use_bias=False, name="label")
    return jnp.concatenate([z, embed(jax.nn.one_hot(labels, spec.num_classes))], -1)


def normalized(spec: Spec, x: Array, labels: Array | None, train: bool) -> Array:
    """BatchNorm of a layer's output [B, ..., C], each class with a gain and bias of its own if `spec` has classes.

    Over the batch of all devices: N devices then compute what one computes. Called in a generator, whose labels then
    need no other way in: beside `with_label`, or with it alone, the samples of a class are far more alike (a recall of
    0.01 at most after 2,000 steps of `hinge` in batches of 64, and 0.51 so). Raises ValueError for classes without
    labels.
    """
    # The moments are float32 in any case: the variance is E[x²] − E[x]², of which the 8 bits of bfloat16 would leave
    # nothing.
    if spec.num_classes is None:
        return nn.BatchNorm(not train, momentum=0.9, dtype=spec.dtype, axis_name=spec.axis)(x)
    if labels is None:
        raise ValueError("a conditional net needs labels")
    norm = ClassBatchNorm(spec.num_classes, momentum=0.9, dtype=spec.dtype, axis=spec.axis)
    return norm(x, labels, train=train)


def judged(spec: Spec, head: nn.Module, features: Array, labels: Array | None, train: bool) -> Array:
    """D's output [B] from its last features [B, F], by `head`, a `layers.Dense(1)`; called in a discriminator.

    If `spec` has classes, by projection: Miyato & Koyama 2018, eq. 5. Raises ValueError if there are no labels then.
    In float32: in bfloat16 a logit of 16 is known to but 0.1, and Wasserstein's drift far higher.
    """
    logits = head(features, update=train)[:, 0]
    if spec.num_classes is not None:
        if labels is None:
            raise ValueError("a conditional net needs labels")
        # A class's row of a dense kernel is its embedding, and spectral norm then knows it like any other.
        project = Dense(
            spec.num_classes,
            use_bias=False,
            spectral_norm=spec.spectral_norm,
            dtype=jnp.float32,
            name="projection",
        )
        logits = logits + jnp.take_along_axis(project(features, update=train), labels[:, None], 1)[:, 0]
    return logits


def _torch_uniform(fan_in: int) -> Any:
    """PyTorch's default for a linear layer's kernel and bias: U(−1/√fan_in, 1/√fan_in).

    Flax's default (LeCun normal, zero biases) starts elsewhere and cannot be held against the tutorial.
    """
    limit = 1.0 / math.sqrt(fan_in)

    def uniform(key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return {"kernel_init": uniform, "bias_init": uniform}


class MLPGenerator(nn.Module):
    """The tutorial's generator: Dense 256 → LeakyReLU 0.2 → Dense 784 → tanh."""

    spec: Spec
    hidden: int = 256

    @nn.compact
    def __call__(self, z: Array, labels: Array | None = None, *, train: bool = False) -> Array:
        """Images [B, H, W, C] from z [B, z_dim]."""
        dtype, shape = self.spec.dtype, self.spec.image_shape
        x = with_label(self.spec, z, labels)
        x = nn.leaky_relu(Dense(self.hidden, dtype=dtype, **_torch_uniform(x.shape[-1]))(x), 0.2)
        x = Dense(math.prod(shape), dtype=dtype, **_torch_uniform(self.hidden))(x)
        return jnp.tanh(x.astype(jnp.float32)).reshape(z.shape[0], *shape)


class MLPDiscriminator(nn.Module):
    """The tutorial's discriminator: Dense 256 → LeakyReLU 0.2 → Dense 1; its sigmoid is in the loss."""

    spec: Spec
    hidden: int = 256

    @nn.compact
    def __call__(self, images: Array, labels: Array | None = None, *, train: bool = False) -> Array:
        """Logits [B] from images [B, H, W, C]."""
        x = images.reshape(images.shape[0], -1)
        layer = functools.partial(Dense, spectral_norm=self.spec.spectral_norm, dtype=self.spec.dtype)
        x = layer(self.hidden, **_torch_uniform(x.shape[-1]))(x, update=train)
        head = layer(1, dtype=jnp.float32, **_torch_uniform(self.hidden))
        return judged(self.spec, head, nn.leaky_relu(x, 0.2), labels, train)


def _check_images(spec: Spec) -> None:
    if are_points(spec.image_shape):
        raise UserError(
            "these nets are for images, and the examples are points in the plane: give --model=toy."
        )


def mlp(spec: Spec) -> Networks:
    """The fully connected nets of the tutorial's program. Raises `UserError` for points."""
    _check_images(spec)
    return Networks(MLPGenerator(spec), MLPDiscriminator(spec))


# The literature's initial kernels, for layers with BatchNorm: Radford 2016 (DCGAN), §3; Chen 2016 (InfoGAN).
_NORMAL = nn.initializers.normal(0.02)


class ConvGenerator(nn.Module):
    """Dense 1024 → Dense H/4·W/4·128 → 4×4 stride-2 transposed conv 64 → the same, C → tanh.

    BatchNorm and ReLU are between them: Chen 2016 (InfoGAN), table 1; Lucic 2018. All widths are divided by `shrink`.
    The label of a conditional GAN enters by BatchNorm.
    """

    spec: Spec
    shrink: int = 1

    @nn.compact
    def __call__(self, z: Array, labels: Array | None = None, *, train: bool = False) -> Array:
        """Images [B, H, W, C] from z [B, z_dim]."""
        height, width, channels = self.spec.image_shape
        dtype = self.spec.dtype
        # A bias before BatchNorm would be subtracted again.
        options = {"use_bias": False, "dtype": dtype, "kernel_init": _NORMAL}

        def norm_relu(x: Array) -> Array:
            return nn.relu(normalized(self.spec, x, labels, train))

        x = norm_relu(Dense(1024 // self.shrink, **options)(z))
        x = norm_relu(Dense(height // 4 * (width // 4) * (128 // self.shrink), **options)(x))
        x = x.reshape(z.shape[0], height // 4, width // 4, -1)
        x = norm_relu(StridedConvTranspose(64 // self.shrink, **options)(x))
        x = StridedConvTranspose(channels, dtype=dtype, kernel_init=_NORMAL)(x)
        return jnp.tanh(x.astype(jnp.float32))


class ConvDiscriminator(nn.Module):
    """4×4 stride-2 conv 64 → the same, 128 → Dense 1024 → Dense 1, LeakyReLU 0.2 between.

    Lucic 2018, without the BatchNorm that InfoGAN had: it would couple a batch's images, and penalties want
    each image's own gradient. All widths are divided by `shrink`.
    """

    spec: Spec
    shrink: int = 1

    @nn.compact
    def __call__(self, images: Array, labels: Array | None = None, *, train: bool = False) -> Array:
        """Logits [B] from images [B, H, W, C]."""
        # He 2015, unless spectral norm sets the scale. With the literature's N(0, 0.02), meant for BatchNorm, a signal
        # shrinks up to a hundredfold on its way: D starts out seeing next to nothing, and `gan` and `lsgan` drop most
        # digits. Under spectral norm only a kernel's direction counts, and small kernels learn it faster.
        init = _NORMAL if self.spec.spectral_norm else nn.initializers.he_normal()
        options = {"spectral_norm": self.spec.spectral_norm, "dtype": self.spec.dtype, "kernel_init": init}
        x = nn.leaky_relu(StridedConv(64 // self.shrink, **options)(images, update=train), 0.2)
        x = nn.leaky_relu(StridedConv(128 // self.shrink, **options)(x, update=train), 0.2)
        x = x.reshape(x.shape[0], -1)
        x = nn.leaky_relu(Dense(1024 // self.shrink, **options)(x, update=train), 0.2)
        return judged(self.spec, Dense(1, **options | {"dtype": jnp.float32}), x, labels, train)


def conv(spec: Spec, shrink: int = 1) -> Networks:
    """The convolutional nets of the MNIST literature. Raises `UserError` unless 4 divides height and width."""
    _check_images(spec)
    if any(size % 4 for size in spec.image_shape[:2]):
        raise UserError(
            f"convolutional nets need a height and width in multiples of 4; the images are {spec.image_shape}."
        )
    return Networks(ConvGenerator(spec, shrink), ConvDiscriminator(spec, shrink))


def conv_small(spec: Spec) -> Networks:
    """`conv` at a quarter of the width: clean digits in minutes on two cores."""
    return conv(spec, shrink=4)


class ToyGenerator(nn.Module):
    """Dense 128 → ReLU → Dense 128 → ReLU → Dense 2: Metz 2017, appendix. Its output has no bounds."""

    spec: Spec
    hidden: int = 128

    @nn.compact
    def __call__(self, z: Array, labels: Array | None = None, *, train: bool = False) -> Array:
        """Points [B, 2] from z [B, z_dim]."""
        x = with_label(self.spec, z, labels)
        for _ in range(2):
            x = nn.relu(Dense(self.hidden, dtype=self.spec.dtype, **_torch_uniform(x.shape[-1]))(x))
        x = Dense(math.prod(self.spec.image_shape), dtype=self.spec.dtype, **_torch_uniform(self.hidden))(x)
        return x.astype(jnp.float32)


class ToyDiscriminator(nn.Module):
    """Dense 128 → LeakyReLU 0.2 → Dense 128 → LeakyReLU 0.2 → Dense 1.

    Biases start at random: with zeros every fold of the first layer would pass through the origin.
    """

    spec: Spec
    hidden: int = 128

    @nn.compact
    def __call__(self, points: Array, labels: Array | None = None, *, train: bool = False) -> Array:
        """Logits [B] from points [B, 2]."""
        x = points.reshape(points.shape[0], -1)
        layer = functools.partial(Dense, spectral_norm=self.spec.spectral_norm, dtype=self.spec.dtype)
        for _ in range(2):
            x = nn.leaky_relu(layer(self.hidden, **_torch_uniform(x.shape[-1]))(x, update=train), 0.2)
        head = layer(1, dtype=jnp.float32, **_torch_uniform(self.hidden))
        return judged(self.spec, head, x, labels, train)


def toy(spec: Spec) -> Networks:
    """Small nets for points in the plane. Raises `UserError` for images."""
    if not are_points(spec.image_shape):
        raise UserError(
            f"these nets are for points in the plane, and the examples are images {list(spec.image_shape)}: give "
            "--model=mlp, or --dataset=ring8."
        )
    return Networks(ToyGenerator(spec), ToyDiscriminator(spec))


MODELS: dict[str, Callable[[Spec], Networks]] = {
    "mlp": mlp,
    "conv": conv,
    "conv_small": conv_small,
    "toy": toy,
}
