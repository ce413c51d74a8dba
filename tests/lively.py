"""GANs of every net whose weights are at random, as no training has to make them: for what runs nets without JAX."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import Config
from gan_jax.gan import Gan
from gan_jax.parts import build
from gan_jax.plan import plan
from gan_jax.state import hyperparams, init

# In turn what each net has that others lack: packs, uniform noise, raw scores; classes, colour, a shape that is no
# square, spectral norm, BatchNorm; an mlp with classes, and scores of differences.
NETS = {
    "mlp": ((8, 8, 1), {"pack": 2, "z_distribution": "uniform", "loss": "least_squares"}),
    "conv_small": (
        (8, 12, 3),
        {"model": "conv_small", "conditional": True, "spectral_norm": True, "ema": 0.9},
    ),
    "classes": ((8, 8, 1), {"conditional": True, "loss": "wasserstein", "spectral_norm": True}),
}


def lively(like: Any) -> Any:
    """A state of these shapes, with all that training may change at random: statistics, scales, biases, too."""
    rng = np.random.default_rng(0)

    def made(path: Any, leaf: jax.ShapeDtypeStruct) -> Any:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.key(0)
        name = re.findall(r"\w+", jax.tree_util.keystr(path))[-1]
        if name == "kernel":
            numbers = rng.normal(0, 1.5 / np.sqrt(np.prod(leaf.shape[:-1])), leaf.shape)
        elif name in ("var", "scale"):
            numbers = rng.uniform(0.5, 2.0, leaf.shape)
        else:
            numbers = rng.normal(0, 0.3, leaf.shape)
        return jnp.asarray(numbers, leaf.dtype)

    return jax.tree_util.tree_map_with_path(made, like)


def make_gan(name: str) -> Gan:
    shape, fields = NETS[name]
    config = Config(**{"model": "mlp", "penalty": (), "ema": 0.0, "batch_size": 16, "z_dim": 8, **fields})
    parts, course = build(config, shape, 3), plan(config, 64)
    numbers = hyperparams(config, course.total)
    return Gan(config, parts, lively(jax.eval_shape(lambda: init(parts, numbers, 0, 64))), course)
