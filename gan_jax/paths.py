"""Ways through the latents: interpolations, closed walks, and noise without its rare values."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtr, ndtri

from gan_jax.errors import UserError
from gan_jax.parts import Parts

PARALLEL = 1e-3  # the sine of an angle below which two latents count as on one line
TINY = 1e-20


def between(parts: Parts, start: np.ndarray, end: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Latents [..., z_dim] on the way from `start` to `end` [..., z_dim], at the shares [...] of it, from 0 to 1.

    Gaussian noise goes along the sphere: White 2016, §2.1. In many dimensions nearly all of it lies near a sphere of
    radius √z_dim. Half-way along the straight line between two draws it is shorter by √2: the generator has seen no
    such noise, and its images there are dull. Uniform noise has no sphere, and goes straight: its cube is convex.
    """
    share = share[..., None]
    straight = (1 - share) * start + share * end
    if parts.z_distribution == "uniform":
        return straight
    along = lambda a, b: np.sum(a * b, -1, keepdims=True)
    lengths = np.sqrt(along(start, start) * along(end, end))
    angle = np.arccos(np.clip(along(start, end) / np.maximum(lengths, TINY), -1, 1))
    on_a_line = (np.sin(angle) < PARALLEL) | (lengths < TINY)
    sine = np.where(on_a_line, 1, np.sin(angle))
    circular = (np.sin((1 - share) * angle) * start + np.sin(share * angle) * end) / sine
    return np.where(on_a_line, straight, circular)


def lines(parts: Parts, z: np.ndarray, steps: int) -> np.ndarray:
    """Latents [num, steps, z_dim], each row from a latent in z's first half [2·num, z_dim] to one in its second."""
    start, end = np.split(z, 2)
    return between(parts, start[:, None], end[:, None], np.linspace(0, 1, steps, dtype=np.float32))


def loop(parts: Parts, stops: np.ndarray, steps: int) -> np.ndarray:
    """Latents [K·steps, num, z_dim] of a walk from stop to stop of [K, num, z_dim], and from the last to the first."""
    share = np.arange(steps, dtype=np.float32)[:, None] / steps
    ahead = np.roll(stops, -1, axis=0)
    return np.concatenate([between(parts, a, b, share) for a, b in zip(stops, ahead, strict=True)])


def truncated(parts: Parts, z: Array, limit: float) -> Array:
    """The same noise [..., z_dim] with no number beyond ±limit: Brock 2019 (BigGAN), §3.1.

    Images become more typical and less varied. BigGAN draws again what lies beyond; here each number keeps its rank,
    so that a sample changes smoothly with the limit, and stays what it was for a high one. Uniform noise is scaled.
    Raises `UserError` unless the limit is greater than 0, and for uniform noise at most 1.
    """
    uniform = parts.z_distribution == "uniform"
    if not limit > 0 or (uniform and limit > 1):
        raise UserError(
            f"--truncation={limit:g} is not allowed: it must be greater than 0{', and at most 1' if uniform else ''}."
        )
    return limit * z if uniform else _truncated_normal(z, jnp.float32(limit))


@jax.jit
def _truncated_normal(z: Array, limit: Array) -> Array:
    # In the lower tail, where float32 has digits left: near 1 a probability has none, and its quantile is infinite.
    beyond = ndtr(-limit)
    tail = jnp.maximum(beyond + (1 - 2 * beyond) * ndtr(-jnp.abs(z)), jnp.finfo(z.dtype).tiny)
    return jnp.sign(z) * jnp.minimum(-ndtri(tail), limit)
