"""Optimizers, and schedules of their learning rates.

An optimizer is a function of its hyperparameters, three scalars that may be traced, to an Optax transformation. They
live in the state of a run, so that runs side by side may differ in them. To add one, write the function and add an
entry to `OPTIMIZERS`. A schedule is a function of the share of the run that is over, from 0 to 1, to a factor on the
updates; to add one, enter it in `SCHEDULES`.
"""

from collections.abc import Callable

import jax.numpy as jnp
import optax
from jax import Array

# (learning_rate, beta1, beta2), float32 scalars -> the transformation.
Optimizer = Callable[[Array, Array, Array], optax.GradientTransformation]
Schedule = Callable[[Array], Array]


def adam(learning_rate: Array, beta1: Array, beta2: Array) -> optax.GradientTransformation:
    """Kingma & Ba 2015, algorithm 1."""
    # optax.adam to the bit. There it is the rate that is negated, of a population in a kernel of its own.
    return optax.chain(
        optax.scale_by_adam(beta1, beta2, eps=1e-8), optax.scale(learning_rate), optax.scale(-1.0)
    )


def adamw(learning_rate: Array, beta1: Array, beta2: Array) -> optax.GradientTransformation:
    """Adam with decoupled weight decay 0.01, PyTorch's default: Loshchilov & Hutter 2019, algorithm 2."""
    return optax.adamw(learning_rate, beta1, beta2, eps=1e-8, weight_decay=0.01)


def rmsprop(learning_rate: Array, beta1: Array, beta2: Array) -> optax.GradientTransformation:
    """PyTorch's RMSProp, and the WGAN paper's: the epsilon outside of the square root. It has no `beta1`."""
    return optax.rmsprop(learning_rate, decay=beta2, eps=1e-8, initial_scale=0.0, eps_in_sqrt=False)


OPTIMIZERS: dict[str, Optimizer] = {"adam": adam, "adamw": adamw, "rmsprop": rmsprop}


def cosine(share: Array) -> Array:
    """Half a cosine wave, from 1 to 0: Loshchilov & Hutter 2017, eq. 5 without restarts."""
    return 0.5 * (1.0 + jnp.cos(jnp.pi * share))


def linear(share: Array) -> Array:
    """A straight line, from 1 to 0."""
    return 1.0 - share


# None is no factor at all: the updates keep their bits, and the run may go on for longer than it was to.
SCHEDULES: dict[str, Schedule | None] = {"constant": None, "cosine": cosine, "linear": linear}
