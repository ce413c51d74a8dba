"""The GAN objectives: for each, what the discriminator and the generator minimise.

Every function takes logits of shape [B] (the discriminator's raw output, never after a sigmoid) and
returns a scalar mean over the batch. To add an objective, write its functions and add an entry to
`OBJECTIVES`; the command line then offers it.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

Loss = Callable[[Array, Array], Array]


def probability(real_logits: Array, fake_logits: Array) -> tuple[Array, Array]:
    """D's mean probability of real, for real and for generated images."""
    return jnp.mean(jax.nn.sigmoid(real_logits)), jnp.mean(jax.nn.sigmoid(fake_logits))


class Objective(NamedTuple):
    """A pair of losses, and how to read the logits as scores.

    d_loss, g_loss: (real_logits [B], fake_logits [B]) -> scalar, to be minimised.
    score: the same arguments -> (real_score, fake_score), two scalars that both approach ½ when the
    discriminator can no longer tell real from fake; by default the mean of the logits' sigmoid.
    """

    d_loss: Loss
    g_loss: Loss
    score: Callable[[Array, Array], tuple[Array, Array]] = probability


def _check(real_logits: Array, fake_logits: Array) -> None:
    # [B, 1] against [B] would broadcast to [B, B] and train on nonsense without a word.
    if real_logits.ndim != 1 or real_logits.shape != fake_logits.shape:
        raise ValueError(
            f"logits must both have the same shape [B]; got real {real_logits.shape}, fake {fake_logits.shape}"
        )


def _checked(loss: Loss) -> Loss:
    @functools.wraps(loss)  # with the loss's own source, which the notebooks show
    def checked(real_logits: Array, fake_logits: Array) -> Array:
        _check(real_logits, fake_logits)
        return loss(real_logits, fake_logits)

    return checked


# softplus(−r) is −log D(x) and softplus(f) is −log(1 − D(G(z))): written this way they stay finite
# for any logit, where log(sigmoid(x)) is −inf from x = −104 on.
@_checked
def cross_entropy_d_loss(real_logits: Array, fake_logits: Array) -> Array:
    """½·(E sp(−r) + E sp(f)): Goodfellow 2014, eq. 1; the ½ is the tutorial program's."""
    return 0.5 * (jnp.mean(jax.nn.softplus(-real_logits)) + jnp.mean(jax.nn.softplus(fake_logits)))


@_checked
def non_saturating_g_loss(real_logits: Array, fake_logits: Array) -> Array:
    """E sp(−f), that is −E log D(G(z)): Goodfellow 2014, §3."""
    return jnp.mean(jax.nn.softplus(-fake_logits))


@_checked
def minimax_g_loss(real_logits: Array, fake_logits: Array) -> Array:
    """−E sp(f), that is E log(1 − D(G(z))): Goodfellow 2014, eq. 1."""
    return -jnp.mean(jax.nn.softplus(fake_logits))


@_checked
def least_squares_d_loss(real_logits: Array, fake_logits: Array) -> Array:
    """½E(r−1)² + ½E f² on the raw output: Mao 2017, eq. 9 with a = 0, b = c = 1."""
    return 0.5 * (jnp.mean((real_logits - 1.0) ** 2) + jnp.mean(fake_logits**2))


@_checked
def least_squares_g_loss(real_logits: Array, fake_logits: Array) -> Array:
    """½E(f−1)²: Mao 2017, eq. 9."""
    return 0.5 * jnp.mean((fake_logits - 1.0) ** 2)


@_checked
def wasserstein_d_loss(real_logits: Array, fake_logits: Array) -> Array:
    """E f − E r: Arjovsky 2017, eq. 2, negated. D must be kept Lipschitz by clipping or a penalty."""
    return jnp.mean(fake_logits) - jnp.mean(real_logits)


@_checked
def critic_g_loss(real_logits: Array, fake_logits: Array) -> Array:
    """−E f: Arjovsky 2017; Lim & Ye 2017."""
    return -jnp.mean(fake_logits)


@_checked
def hinge_d_loss(real_logits: Array, fake_logits: Array) -> Array:
    """E max(0, 1−r) + E max(0, 1+f): Lim & Ye 2017; Miyato 2018, eq. 16."""
    return jnp.mean(jax.nn.relu(1.0 - real_logits)) + jnp.mean(jax.nn.relu(1.0 + fake_logits))


@_checked
def relativistic_d_loss(real_logits: Array, fake_logits: Array) -> Array:
    """E sp(−(r−f)), real and fake in pairs: Jolicoeur-Martineau 2018; Huang 2024 (R3GAN), eq. 2."""
    return jnp.mean(jax.nn.softplus(fake_logits - real_logits))


@_checked
def relativistic_g_loss(real_logits: Array, fake_logits: Array) -> Array:
    """E sp(−(f−r)): Jolicoeur-Martineau 2018; Huang 2024 (R3GAN), eq. 2."""
    return jnp.mean(jax.nn.softplus(real_logits - fake_logits))


def _raw(real_logits: Array, fake_logits: Array) -> tuple[Array, Array]:
    # Least squares drives the output itself to 1 and 0, and to ½ at its optimum.
    return jnp.mean(real_logits), jnp.mean(fake_logits)


def _relative(real_logits: Array, fake_logits: Array) -> tuple[Array, Array]:
    # These losses see r − f alone: a constant added to every logit changes nothing, so a score of one
    # logit by itself would mean nothing.
    real_score = jnp.mean(jax.nn.sigmoid(real_logits - fake_logits))
    return real_score, 1.0 - real_score


OBJECTIVES: dict[str, Objective] = {
    "cross_entropy": Objective(cross_entropy_d_loss, non_saturating_g_loss),
    "minimax": Objective(cross_entropy_d_loss, minimax_g_loss),
    "least_squares": Objective(least_squares_d_loss, least_squares_g_loss, _raw),
    "wasserstein": Objective(wasserstein_d_loss, critic_g_loss, _relative),
    "hinge": Objective(hinge_d_loss, critic_g_loss),
    "relativistic": Objective(relativistic_d_loss, relativistic_g_loss, _relative),
}
