"""Optimizers, and schedules of their hyperparameters.

An optimizer is a function of its hyperparameters, three scalars that may be traced, to an Optax transformation. They
live in the state of a run, so that runs side by side may differ in them. To add one, write the function and add an
entry to `OPTIMIZERS`. A schedule is a function of the share of the run that is over, from 0 to 1, to a factor on the
updates, or a `Schedule` of several such functions; to add one, enter it in `SCHEDULES`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import optax
from jax import Array

# (learning_rate, beta1, beta2), float32 scalars -> the transformation.
Optimizer = Callable[[Array, Array, Array], optax.GradientTransformation]
# The share of the run that is over, from 0 to 1 -> a factor; both float32 scalars.
Factor = Callable[[Array], Array]


class Schedule(NamedTuple):
    """What moves over a run, each by a factor; what has None stays.

    updates: of both nets, which is the learning rates. penalties: their weights. forgetting: 1 − β₂, at most 1.
    """

    updates: Factor | None = None
    penalties: Factor | None = None
    forgetting: Factor | None = None


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


def cooldown(share: Array) -> Array:
    """1, and over the last quarter a straight line to 0."""
    return jnp.minimum(1.0, 4.0 * (1.0 - share))


def _falling(start: float, end: float) -> Factor:
    """From `start` to `end` along half a cosine wave."""
    return lambda share: end + (start - end) * cosine(share)


# Huang 2024, appendix: over a run the rates fall to a quarter and the penalties' weights to a tenth, and β₂ rises, from
# 0.9 to 0.99 there. The averaged weights' half-life rises as well; so it does in every run of ours, up to `ema`.
R3GAN = Schedule(updates=_falling(1, 0.25), penalties=_falling(1, 0.1), forgetting=_falling(10, 1))

# None is no factor at all: the updates keep their bits, and the run may go on for longer than it was to.
SCHEDULES: dict[str, Factor | Schedule | None] = {
    "constant": None,
    "cosine": cosine,
    "linear": linear,
    "cooldown": cooldown,
    "r3gan": R3GAN,
}


def schedule_of(name: str) -> Schedule:
    """A schedule by its name in `SCHEDULES`; of a plain function, that of the updates."""
    found = SCHEDULES[name]
    return found if isinstance(found, Schedule) else Schedule(found)
