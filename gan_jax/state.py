"""The state of a run: everything that training changes, as one pytree of arrays, and how it starts."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, NamedTuple, TypeVar

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.typing import ArrayLike

from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.optimizers import Optimizer
from gan_jax.parts import Parts
from gan_jax.penalties import DEFAULT_WEIGHTS

Tree = TypeVar("Tree")
Params = Any  # a pytree of parameters, as Flax makes it


class GanState(flax.struct.PyTreeNode):
    """All that a step reads and writes.

    step: number of generator updates done, int32 [].
    key: the run's typed PRNG key; never changes, every draw is a function of (key, step).
    order: this epoch's permutation of the data set, int32 [N].
    g_params, d_params: parameters; g_stats, d_stats: the nets' other collections (BatchNorm's averages, …).
    g_opt, d_opt: optimizer states.
    g_ema: the generator's variables (parameters and other collections) averaged, or None if the run keeps none.
    hyperparams: what members of a population may differ in, float32 [] each; see `hyperparams`.

    Runs side by side share `step` alone: vmap with its axis None and every other's 0 keeps what depends on it a
    scalar.
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


def hyperparams(config: Config, total_steps: int) -> dict[str, Array]:
    """The numbers of a config that its program takes as arrays: rates, decays, weights, clipping.

    Only those in use, so that the states of equal runs are equal: a constant schedule knows no length.
    """
    weights = {
        f"{name}_weight": config.penalty_weight or DEFAULT_WEIGHTS.get(name, 1.0) for name in config.penalty
    }
    optional = {"ema": config.ema, "clip": config.clip, "grad_clip": config.grad_clip}
    values = {
        "g_learning_rate": config.g_learning_rate,
        "d_learning_rate": config.d_learning_rate,
        "beta1": config.beta1,
        "beta2": config.beta2,
        **{name: value for name, value in optional.items() if value},
        **weights,
        **({} if config.schedule == "constant" else {"total_steps": total_steps}),
    }
    return {name: jnp.asarray(value, jnp.float32) for name, value in values.items()}


def optimizer(
    parts: Parts, hyperparams: Mapping[str, Array], net: Literal["g", "d"]
) -> optax.GradientTransformation:
    """A net's optimizer with these hyperparameters, which may be traced."""
    return parts.optimizer(*_rates(hyperparams, net))


def _rates(hyperparams: Mapping[str, Array], net: Literal["g", "d"]) -> tuple[Array, Array, Array]:
    return hyperparams[f"{net}_learning_rate"], hyperparams["beta1"], hyperparams["beta2"]


def init(parts: Parts, hyperparams: dict[str, Array], seed: ArrayLike, num_images: int) -> GanState:
    """The state before the first step, for a data set of so many images.

    `hyperparams` and `seed` may be arrays, so that any number of members is made by one program.
    """
    key, g_key, d_key = jax.random.split(jax.random.key(jnp.asarray(seed, jnp.uint32)), 3)
    g = _begun(
        parts.generator, parts.optimizer, g_key, parts.g_inputs(1), _rates(hyperparams, "g"), parts.ema
    )
    d = _begun(
        parts.discriminator, parts.optimizer, d_key, parts.d_inputs(1), _rates(hyperparams, "d"), False
    )
    return GanState(
        step=jnp.zeros((), jnp.int32),
        key=key,
        order=jnp.zeros(num_images, jnp.int32),  # drawn at the first step of every epoch
        g_params=g.params,
        g_stats=g.stats,
        d_params=d.params,
        d_stats=d.stats,
        g_opt=g.opt,
        d_opt=d.opt,
        g_ema=g.average,
        hyperparams=hyperparams,
    )


class _Begun(NamedTuple):
    """A net before its first step. average: its variables once more, if they are to be averaged."""

    params: Params
    stats: Params
    opt: optax.OptState
    average: Params | None


# A program, since op by op this takes a second of every start. It is of one net and its optimizer alone, so that
# systems that differ elsewhere, as in their loss, share it.
@partial(jax.jit, static_argnums=(0, 1, 5))
def _begun(
    net: nn.Module,
    make: Optimizer,
    key: Array,
    inputs: tuple[Array, Array | None],
    rates: tuple[Array, Array, Array],
    averaged: bool,
) -> _Begun:
    stats = dict(net.init(key, *inputs))
    params = stats.pop("params")
    return _Begun(params, stats, make(*rates).init(params), {"params": params, **stats} if averaged else None)


def to_arrays(state: Any) -> dict[str, np.ndarray]:
    """The arrays of a state, or of any pytree, on the host, by their path in it."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    data = [jax.random.key_data(x) if _is_key(x) else x for _, x in leaves]
    names = [jax.tree_util.keystr(path) for path, _ in leaves]
    return dict(zip(names, map(np.asarray, jax.device_get(data)), strict=True))


def from_arrays(like: Tree, arrays: Mapping[str, np.ndarray]) -> Tree:
    """The state that `to_arrays` gave, in the tree and the shapes of `like`: a state, or its `jax.eval_shape`.

    Raises:
      UserError: where an array is missing, or of another shape or type.
    """
    paths, structure = jax.tree_util.tree_flatten_with_path(like)
    leaves = []
    for path, leaf in paths:
        name = jax.tree_util.keystr(path)
        if name not in arrays:
            raise UserError(f"it has no {name}: another config or version wrote it")
        array = jnp.asarray(arrays[name])
        made = jax.random.wrap_key_data(array) if _is_key(leaf) else array
        if (made.shape, made.dtype) != (leaf.shape, leaf.dtype):
            raise UserError(
                f"its {name} is {made.dtype} {list(made.shape)}, and this config's {leaf.dtype} {list(leaf.shape)}"
            )
        leaves.append(made)
    tree: Tree = jax.tree.unflatten(structure, leaves)
    return tree


def _is_key(leaf: Array | jax.ShapeDtypeStruct) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
