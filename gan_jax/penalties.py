"""Gradient penalties on the discriminator.

Each is `penalty(d_apply, real, fake, key) -> scalar`, unweighted, with `d_apply: images -> logits [B]` and images
[B, ...] of any rank. One that draws noise, or reduces over the batch by more than a mean, also takes `axis=None`: the
name of the device axis that the batch is sharded over, if any. To add one, write it and add an entry to `PENALTIES`,
and to `DEFAULT_WEIGHTS` unless its usual weight is 1.

D must not couple the images of a batch (no BatchNorm): one backward pass of the summed logits then
gives every image's own gradient, without a vmap.
"""

import inspect
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from gan_jax import axis as over

DApply = Callable[[Array], Array]


# `penalty(d_apply, real, fake, key) -> scalar`, which may also take `axis=None`.
Penalty = Callable[..., Array]


def apply(penalty: Penalty, d_apply: DApply, real: Array, fake: Array, key: Array, axis: str | None) -> Array:
    """The penalty, told of the axis if it takes one."""
    takes_axis = "axis" in inspect.signature(penalty).parameters
    return penalty(d_apply, real, fake, key, **({"axis": axis} if takes_axis else {}))


def _squared_norms(d_apply: DApply, images: Array) -> Array:
    """‖∇D(x)‖² for each image, over all its axes: [B]."""
    gradients = jax.grad(lambda x: jnp.sum(d_apply(x)))(images)
    return jnp.sum(gradients**2, axis=tuple(range(1, images.ndim)))


def _unit_norm(d_apply: DApply, images: Array) -> Array:
    # sqrt has an infinite slope at 0, and 0 · ∞ is NaN: where ∇D vanishes (dead units) the whole
    # update would be lost. The epsilon is far below any gradient that matters.
    norms = jnp.sqrt(_squared_norms(d_apply, images) + 1e-12)
    return jnp.mean((norms - 1.0) ** 2)


def _uniform(key: Array, images: Array, shape: tuple[int, ...], axis: str | None) -> Array:
    """U(0, 1) of `shape` for each image, drawn for the global batch so that N devices use one's noise."""
    batch = images.shape[0] * over.size(axis)
    return over.local(jax.random.uniform(key, (batch, *shape), images.dtype), axis)


def gp(d_apply: DApply, real: Array, fake: Array, key: Array, *, axis: str | None = None) -> Array:
    """E(‖∇D(x̂)‖₂ − 1)², x̂ = εx + (1−ε)x̃, one ε ~ U(0,1) per image: Gulrajani 2017, eq. 3."""
    epsilon = _uniform(key, real, (1,) * (real.ndim - 1), axis)
    return _unit_norm(d_apply, epsilon * real + (1.0 - epsilon) * fake)


def dragan(d_apply: DApply, real: Array, fake: Array, key: Array, *, axis: str | None = None) -> Array:
    """E(‖∇D(x̂)‖₂ − 1)² around the data, x̂ = x + α·½·std(batch)·u: Kodali 2017, algorithm 1.

    u ~ U(0,1) per pixel, α ~ U(0,1) per image, std over all pixels of the global batch.
    """
    u_key, alpha_key = jax.random.split(key)
    u = _uniform(u_key, real, real.shape[1:], axis)
    alpha = _uniform(alpha_key, real, (1,) * (real.ndim - 1), axis)
    centred = real - over.mean(jnp.mean(real), axis)
    std = jnp.sqrt(over.mean(jnp.mean(centred**2), axis))
    return _unit_norm(d_apply, real + alpha * 0.5 * std * u)


def r1(d_apply: DApply, real: Array, fake: Array, key: Array, *, axis: str | None = None) -> Array:
    """½E‖∇D(x)‖² on real images: Mescheder 2018, eq. 9."""
    return 0.5 * jnp.mean(_squared_norms(d_apply, real))


def r2(d_apply: DApply, real: Array, fake: Array, key: Array, *, axis: str | None = None) -> Array:
    """½E‖∇D(x̃)‖² on generated images: Mescheder 2018, eq. 10."""
    return 0.5 * jnp.mean(_squared_norms(d_apply, fake))


PENALTIES: dict[str, Penalty] = {"gp": gp, "dragan": dragan, "r1": r1, "r2": r2}

# Of those whose papers weigh them by another number than 1.
DEFAULT_WEIGHTS: dict[str, float] = {"gp": 10.0, "dragan": 10.0}
