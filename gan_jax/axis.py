"""The data-parallel axis, as seen from inside a step.

`axis` is the name of the mapped axis, or None outside of one. The rule that makes results independent
of the number of devices: draw for the global batch, keep this device's slice, average over the axis.
"""

from typing import TypeVar

import jax
from jax import Array

Tree = TypeVar("Tree")


def mean(tree: Tree, axis: str | None) -> Tree:
    """Every leaf averaged over the devices."""
    # Over a single device it would still copy every gradient.
    return tree if size(axis) == 1 else jax.lax.pmean(tree, axis)


def size(axis: str | None) -> int:
    """The number of devices along the axis."""
    return 1 if axis is None else jax.lax.axis_size(axis)


def local(x: Array, axis: str | None, *, dim: int = 0) -> Array:
    """This device's share of a global batch: the axis-index-th of equal slices along `dim`."""
    if axis is None:
        return x
    length = x.shape[dim] // jax.lax.axis_size(axis)
    return jax.lax.dynamic_slice_in_dim(x, jax.lax.axis_index(axis) * length, length, dim)


def own_key(key: Array, axis: str | None) -> Array:
    """This device's own key, for what cannot be drawn for the global batch; one device's is the key itself."""
    if axis is None or size(axis) == 1:
        return key
    return jax.random.fold_in(key, jax.lax.axis_index(axis))
