"""A GAN's nets as plain layers, for what runs them without JAX: assets/explore/nets.js, and ONNX files.

What is constant once a net is trained is folded into its products: BatchNorm, spectral norm, a class's embedding, the
projection on it. A layer is then a product, a gain and a bias, which may be others for each class, and a slope below 0.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import spectral
from gan_jax.errors import UserError
from gan_jax.gan import Gan
from gan_jax.models import ConvDiscriminator, ConvGenerator, MLPDiscriminator, MLPGenerator

LEAK = 0.2  # the slope of the nets' LeakyReLU
RELU, LINEAR = 0.0, 1.0

Tree = Mapping[str, Any]


class Affine(NamedTuple):
    """A kernel float32 [..., C, F], and biases [classes or 1, F]; before these come gains [classes, F], if any."""

    kernel: np.ndarray
    biases: np.ndarray
    gains: np.ndarray | None = None


class Layer(NamedTuple):
    """A product, and the slope below 0 of the activation that follows.

    kind: "dense", kernel [C, F]; "up", a 4×4 stride-2 transposed convolution; "down", the convolution, kernel [4, 4, C,
    F], where place [a, b] of it joins the smaller image's pixel [i, j] and the larger one's [2·i + a − 1, 2·j + b − 1].
    height, width: of the input.
    """

    kind: Literal["dense", "up", "down"]
    affine: Affine
    slope: float
    height: int = 1
    width: int = 1


def check_known(gan: Gan) -> None:
    """Raises `UserError` unless the nets are those of `mlp`, `conv` or `conv_small`."""
    pair = (type(gan.parts.generator), type(gan.parts.discriminator))
    if pair not in ((MLPGenerator, MLPDiscriminator), (ConvGenerator, ConvDiscriminator)):
        raise UserError(
            f"only the nets of --model=mlp, conv and conv_small run without JAX, and not those of {gan.config.model}."
        )


def of_generator(gan: Gan) -> list[Layer]:
    """From noise [z_dim] to the numbers of an image [H, W, C], before its tanh. Raises `UserError` as `check_known`."""
    check_known(gan)
    variables: Any = jax.device_get(gan.state.sampling_variables)
    params, (height, width, _) = variables["params"], gan.parts.image_shape
    first = _by_class(_plain(params["Dense_0"]), params.get("label"))
    second = _plain(params["Dense_1"])
    if isinstance(gan.parts.generator, MLPGenerator):
        return [Layer("dense", first, LEAK), Layer("dense", second, LINEAR)]
    third, last = (_flipped(_plain(params[f"StridedConvTranspose_{i}"])) for i in (0, 1))
    normed = [_normed(x, variables, i) for i, x in enumerate((first, second, third))]
    return [
        Layer("dense", normed[0], RELU),
        Layer("dense", normed[1], RELU),
        Layer("up", normed[2], RELU, height // 4, width // 4),
        Layer("up", last, LINEAR, height // 2, width // 2),
    ]


def of_discriminator(gan: Gan) -> list[Layer]:
    """From a pack of images as one [H, W, pack·C] in [−1, 1] to a logit for each class, or one."""
    params: Any = jax.device_get(gan.state.d_params)
    us: Any = jax.device_get(gan.state.d_stats.get("spectral", {}))
    height, width, _ = gan.parts.image_shape
    affine = lambda name: _plain(params[name], us.get(name))
    head = affine("Dense_1")
    if (
        "projection" in params
    ):  # Miyato & Koyama 2018: a class's logit is the head's plus the projection on the class
        head = Affine(
            head.kernel + affine("projection").kernel, np.repeat(head.biases, gan.parts.num_classes or 1, 1)
        )
    if isinstance(gan.parts.discriminator, MLPDiscriminator):
        return [Layer("dense", affine("Dense_0"), LEAK), Layer("dense", head, LINEAR)]
    return [
        Layer("down", affine("StridedConv_0"), LEAK, height, width),
        Layer("down", affine("StridedConv_1"), LEAK, height // 2, width // 2),
        Layer("dense", affine("Dense_0"), LEAK),
        Layer("dense", head, LINEAR),
    ]


def directions(first: Layer, num: int) -> np.ndarray:
    """The `num` orthonormal directions [num, z_dim] of the noise that change the first layer most, strongest first.

    The right singular vectors of its weights: SeFa, Shen & Zhou 2021, eq. 6. For noise whose numbers are independent
    and alike they are also what a principal component analysis of the layer's outputs finds from samples, as GANSpace
    does, Härkönen 2020.
    """
    kernel, _, gains = first.affine
    weights = kernel if gains is None else kernel * gains.mean(0)  # of what the classes have in common
    found: np.ndarray = np.linalg.svd(weights, full_matrices=False)[0].T[:num]
    strongest = np.take_along_axis(found, np.abs(found).argmax(1)[:, None], 1)
    return found * np.sign(strongest)  # which of both ways is right is for nobody to say


def _plain(layer: Tree, u: Tree | None = None) -> Affine:
    kernel = np.asarray(layer["kernel"])
    if u is not None:
        matrix = jnp.asarray(kernel.reshape(-1, kernel.shape[-1]))
        kernel = kernel * np.asarray(spectral.inverse_sigma(matrix, jnp.asarray(u["u"]), False)[0])
    bias = layer.get("bias", np.zeros(kernel.shape[-1], np.float32))
    return Affine(kernel, np.asarray(bias)[None])


def _by_class(affine: Affine, label: Tree | None) -> Affine:
    """Of a product with noise and embedding, one after the other, that with noise; the other is a bias of the class."""
    if label is None:
        return affine
    embedding = np.asarray(label["kernel"])
    noise, rest = np.split(affine.kernel, [-embedding.shape[1]])
    return Affine(noise, affine.biases + embedding @ rest)


def _normed(affine: Affine, variables: Tree, i: int) -> Affine:
    """The product and the i-th BatchNorm, which is after it, as one."""
    params, stats = variables["params"], variables["batch_stats"]
    if (name := f"BatchNorm_{i}") in params:
        scale = params[name]["scale"] * _inverse_deviation(stats[name])
        return Affine(
            affine.kernel * scale, (affine.biases - stats[name]["mean"]) * scale + params[name]["bias"]
        )
    own, stats = (
        params[f"Class{name}"],
        stats[f"Class{name}"]["BatchNorm_0"],
    )  # a class has its own scale and bias
    scale = _inverse_deviation(stats)
    shift = (affine.biases - stats["mean"]) * scale
    return Affine(affine.kernel * scale, shift * own["scale"] + own["bias"], np.asarray(own["scale"]))


def _inverse_deviation(stats: Tree) -> np.ndarray:
    return 1 / np.sqrt(np.asarray(stats["var"]) + nn.BatchNorm.epsilon)


def _flipped(affine: Affine) -> Affine:
    return affine._replace(kernel=affine.kernel[::-1, ::-1])
