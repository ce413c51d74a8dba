"""Packing a tree: every bit comes back, and small arrays are one."""

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.packing import SMALL, pack, unpack


def test_every_bit_comes_back_and_small_arrays_are_one() -> None:
    floats = np.array([0.0, -0.0, np.nan, np.inf, 1e-45, 1.5], np.float32)  # 1e-45 is subnormal
    tree = {
        "bias": jnp.asarray(floats),
        "count": jnp.int32(7),
        "matrix": jnp.ones((SMALL, 2)),
        "half": jnp.ones(3, jnp.bfloat16),
        "none": None,
        "scalar": jnp.float32(0.1),
    }
    packed = jax.jit(pack)(tree)
    assert packed.small.shape == (6 + 1 + 1,)
    assert len(packed.large) == 2
    back = jax.jit(lambda x: unpack(x, tree))(packed)
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(tree), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_a_tree_without_small_arrays_is_packed() -> None:
    tree = [jnp.ones((SMALL, 2))]
    (back,) = unpack(pack(tree), tree)
    np.testing.assert_array_equal(back, tree[0])
