"""Many small arrays as one, for the loop of a chunk.

Each array that a step changes is a kernel of its own on an accelerator, however small. Of a net's arrays most are
vectors of biases and their moments. Laid end to end they are one kernel; what reads one of them reads its part.

Of many members under `vmap` the parts are laid end to end, and not the members: a part of all of them still lies in
one piece. Cut out of each member's row it would be a kernel of its own.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.custom_batching
import jax.numpy as jnp
import numpy as np
from jax import Array

# Numbers in an array that is laid together with others. A matrix or a convolution's kernel of more is one kernel for
# its update whether or not, and a library's product takes it as it lies.
SMALL = 4096


class Packed(NamedTuple):
    """A tree of arrays: the small ones as the bits of one int32 vector, and the others.

    Under `vmap` only `unpack` can tell what a member's row of that vector holds.
    """

    small: Array
    large: list[Array]


def pack(tree: Any) -> Packed:
    """The tree, its small arrays together."""
    leaves = jax.tree.leaves(tree)
    small = [jax.lax.bitcast_convert_type(x, jnp.int32).ravel() for x in leaves if _is_small(x)]
    return Packed(_joined([jnp.zeros(0, jnp.int32), *small]), [x for x in leaves if not _is_small(x)])


def unpack(packed: Packed, like: Any) -> Any:
    """The tree that was packed, in the structure, shapes and types of `like`."""
    shapes, structure = jax.tree.flatten(like)
    large = iter(packed.large)
    small = iter(_cut(packed.small, [math.prod(x.shape) for x in shapes if _is_small(x)]))
    leaves = [
        jax.lax.bitcast_convert_type(next(small).reshape(x.shape), x.dtype) if _is_small(x) else next(large)
        for x in shapes
    ]
    return jax.tree.unflatten(structure, leaves)


@jax.custom_batching.custom_vmap
def _joined(parts: list[Array]) -> Array:
    return jnp.concatenate(parts)


@_joined.def_vmap
def _joined_of_members(count: int, batched: list[list[bool]], parts: list[Array]) -> tuple[Array, bool]:
    [own] = batched
    every = lambda x: jnp.broadcast_to(x, (count, *x.shape))
    whole = [x if its_own else every(x) for x, its_own in zip(parts, own, strict=True)]
    return jnp.concatenate([x.ravel() for x in whole]).reshape(count, -1), True


def _cut(joined: Array, sizes: Sequence[int]) -> list[Array]:
    """The parts of these sizes, end to end."""

    @jax.custom_batching.custom_vmap
    def cut(joined: Array) -> list[Array]:
        return jnp.split(joined, np.cumsum(sizes)[:-1])

    @cut.def_vmap
    def cut_of_members(count: int, batched: list[bool], joined: Array) -> tuple[list[Array], list[bool]]:
        parts = jnp.split(joined.ravel(), count * np.cumsum(sizes)[:-1])
        return [x.reshape(count, -1) for x in parts], [True] * len(sizes)

    return cut(joined) if sizes else []


def _is_small(x: Any) -> bool:
    return math.prod(x.shape) <= SMALL and x.dtype in (jnp.float32, jnp.int32)
