"""Spectral norm: a kernel's largest singular value by power iteration, Miyato 2018, algorithm 1.

Written for few passes over the kernel and few kernels of an accelerator: two products with it an update, and one where
its singular value alone is asked for.
"""

import functools

import jax
import jax.numpy as jnp
from jax import Array


def unit(x: Array) -> Array:
    """x / ‖x‖."""
    return x / (jnp.linalg.norm(x) + 1e-12)


def inverse_sigma(matrix: Array, u: Array, update: bool) -> tuple[Array, Array]:
    """(1 / the largest singular value of a matrix [N, F], the new u [F]): one step of power iteration if `update`.

    u: the last step's, of length 1. The gradient is that of the quotient, singular vectors being held, as in eq. 12.
    """
    fixed = jax.lax.stop_gradient(matrix)
    a = _exact(fixed, u)
    if not update or len(u) == 1:  # the singular vector of a single number is known
        inverse = jax.lax.rsqrt(jnp.sum(a**2))
        return _quotient(matrix, inverse, inverse * a, u), u
    # With a = W u and b = Wᵀ a: v = a / ‖a‖, the new u is b / ‖b‖, and vᵀ W u = ‖b‖ / ‖a‖. Since ‖a‖² = b · u, one pass
    # over b has both lengths, and there is no third product with the kernel.
    b = _exact(a, fixed)
    squared, inverse = jnp.sum(b * u), jax.lax.rsqrt(jnp.sum(b**2))
    v, u = jax.lax.rsqrt(squared) * a, inverse * b
    return _quotient(matrix, jnp.sqrt(squared) * inverse, v, u), u


def _exact(a: Array, b: Array) -> Array:
    # Small products, of a state that carries its errors on: all of float32, where a TPU's own default is bfloat16.
    return jnp.dot(a, b, precision=jax.lax.Precision.HIGHEST)


@jax.custom_jvp
def _quotient(matrix: Array, value: Array, v: Array, u: Array) -> Array:
    """1 / (vᵀ·matrix·u), whose value is known."""
    del matrix, v, u
    return value


@_quotient.defjvp
def _quotient_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    matrix, value, v, u = primals
    value = _quotient(matrix, value, v, u)
    return value, -(value**2) * jnp.sum(tangents[0] * (v[:, None] * u[None, :]))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def spread(x: Array, features: int) -> Array:
    """A number for each of so many features: [features].

    Its gradient is added up feature by feature, as the bias's is, in the same pass over the layer's output, and only
    then over all. The compiler would make one sum of it: a pass of its own, and on a CPU without vectors.
    """
    return jnp.broadcast_to(x, (features,))


def _spread_forward(x: Array, features: int) -> tuple[Array, None]:
    return spread(x, features), None


def _spread_backward(features: int, residual: None, gradient: Array) -> tuple[Array]:
    del features, residual
    return (jnp.sum(jax.lax.optimization_barrier(gradient)),)


spread.defvjp(_spread_forward, _spread_backward)
