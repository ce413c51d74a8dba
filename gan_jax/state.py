"""The state of a run: everything that training changes, as one pytree of arrays, and how it starts."""

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax import Array

from gan_jax.config import Config
from gan_jax.data import DATASETS
from gan_jax.models import MODELS, Networks, Spec
from gan_jax.penalties import DEFAULT_WEIGHTS

Params = Any  # a pytree of parameters, as Flax makes it


class GanState(flax.struct.PyTreeNode):
    """All that a step reads and writes.

    step: number of generator updates done, int32 [].
    key: the run's typed PRNG key; never changes, every draw is a function of (key, step).
    order: this epoch's permutation of the data set, int32 [N].
    g_params, d_params: parameters; g_stats, d_stats: the nets' other collections (BatchNorm's averages, …).
    g_opt, d_opt: optimizer states, the learning rates and betas among them.
    g_ema: the generator's variables (parameters and other collections) averaged, or None if the run keeps none.
    hyperparams: the penalties' weights by name, and `clip`.
    """

    step: Array
    key: Array
    order: Array
    g_params: Params
    g_stats: Params
    d_params: Params
    d_stats: Params
    g_opt: optax.OptState
    d_opt: optax.OptState
    g_ema: Params | None
    hyperparams: dict[str, Array]

    @property
    def sampling_variables(self) -> dict[str, Params]:
        """The generator's variables to sample with: the averaged ones where there are any."""
        return {"params": self.g_params, **self.g_stats} if self.g_ema is None else self.g_ema


def make_optimizers(config: Config) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """(G's, D's) optimizer. Their hyperparameters live in the state, so that runs side by side may differ.

    RMSProp is PyTorch's (and the WGAN paper's): the epsilon outside the square root.
    """

    def make(learning_rate: float) -> optax.GradientTransformation:
        if config.optimizer == "adam":
            return optax.inject_hyperparams(optax.adam, static_args=("eps", "eps_root"))(
                learning_rate=learning_rate, b1=config.beta1, b2=config.beta2, eps=1e-8, eps_root=0.0
            )
        return optax.inject_hyperparams(
            optax.rmsprop, static_args=("eps", "initial_scale", "eps_in_sqrt", "momentum", "bias_correction")
        )(learning_rate=learning_rate, decay=config.beta2, eps=1e-8, initial_scale=0.0, eps_in_sqrt=False)

    return make(config.g_learning_rate), make(config.d_learning_rate)


def make_networks(config: Config, image_shape: tuple[int, ...], axis: str | None = None) -> Networks:
    """The run's generator and discriminator for images of this shape [H, W, C], sharded over `axis` if it is given."""
    height, width, channels = image_shape
    spec = Spec(
        image_shape=(height, width, channels),
        num_classes=DATASETS[config.dataset].num_classes if config.conditional else None,
        spectral_norm=config.spectral_norm,
        dtype=jnp.dtype(config.dtype),
        axis=axis,
    )
    return MODELS[config.model](spec)


def init(config: Config, image_shape: tuple[int, ...], num_images: int) -> GanState:
    """The state before the first step, for a data set of `num_images` images of `image_shape` [H, W, C]."""
    # One program: op by op this takes a second of every start.
    return jax.jit(lambda: _init(config, image_shape, num_images))()


def _init(config: Config, image_shape: tuple[int, ...], num_images: int) -> GanState:
    nets = make_networks(config, image_shape)
    key, g_key, d_key = jax.random.split(jax.random.key(config.seed), 3)
    labels = jnp.zeros(1, jnp.int32) if config.conditional else None
    g_params, g_stats = _init_net(nets.generator, g_key, jnp.zeros((1, config.z_dim)), labels)
    d_params, d_stats = _init_net(nets.discriminator, d_key, jnp.zeros((1, *image_shape)), labels)
    g_optimizer, d_optimizer = make_optimizers(config)
    weights = {name: config.penalty_weight or DEFAULT_WEIGHTS[name] for name in config.penalty}
    return GanState(
        step=jnp.zeros((), jnp.int32),
        key=key,
        order=jnp.zeros(num_images, jnp.int32),  # drawn at the first step of every epoch
        g_params=g_params,
        g_stats=g_stats,
        d_params=d_params,
        d_stats=d_stats,
        g_opt=g_optimizer.init(g_params),
        d_opt=d_optimizer.init(d_params),
        g_ema={"params": g_params, **g_stats} if config.ema else None,
        hyperparams={name: jnp.float32(x) for name, x in {**weights, "clip": config.clip}.items()},
    )


def _init_net(net: nn.Module, key: Array, x: Array, labels: Array | None) -> tuple[Params, Params]:
    stats = dict(net.init(key, x, labels))
    return stats.pop("params"), stats
