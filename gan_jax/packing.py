"""Many small arrays as one, for the loop of a chunk.

Each array that a step changes is a kernel of its own on an accelerator, however small. Of a net's arrays most are
vectors of biases and their moments. Laid end to end they are one kernel; what reads one of them reads its part.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

# Numbers in an array that is laid together with others. A matrix or a convolution's kernel of more is one kernel for
# its update whether or not, and a library's product takes it as it lies.
SMALL = 4096


class Packed(NamedTuple):
    """A tree of arrays: the small ones as the bits of one int32 vector, and the others."""

    small: Array
    large: list[Array]


def pack(tree: Any) -> Packed:
    """The tree, its small arrays together."""
    leaves = jax.tree.leaves(tree)
    small = [jax.lax.bitcast_convert_type(x, jnp.int32).ravel() for x in leaves if _is_small(x)]
    return Packed(jnp.concatenate([jnp.zeros(0, jnp.int32), *small]), [x for x in leaves if not _is_small(x)])


def unpack(packed: Packed, like: Any) -> Any:
    """The tree that was packed, in the structure, shapes and types of `like`."""
    shapes, structure = jax.tree.flatten(like)
    large, begin, leaves = iter(packed.large), 0, []
    for x in shapes:
        if not _is_small(x):
            leaves.append(next(large))
            continue
        end = begin + math.prod(x.shape)
        part = jax.lax.slice_in_dim(packed.small, begin, end).reshape(x.shape)
        leaves.append(jax.lax.bitcast_convert_type(part, x.dtype))
        begin = end
    return jax.tree.unflatten(structure, leaves)


def _is_small(x: Any) -> bool:
    return math.prod(x.shape) <= SMALL and x.dtype in (jnp.float32, jnp.int32)
