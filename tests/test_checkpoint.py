"""Which checkpoints are kept, and that what is restored is what was saved, on other devices too."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import parallel, state
from gan_jax.checkpoint import Checkpoints, NonFiniteState
from gan_jax.config import Config
from gan_jax.state import GanState

Small = Callable[..., Config]


@pytest.fixture
def gan(small: Small) -> GanState:
    return state.init(small(ema=0.5), (28, 28, 1), 100)


def at(gan: GanState, step: int) -> GanState:
    return gan.replace(step=jnp.int32(step))


def silent(message: str) -> None:
    raise AssertionError(message)


def test_what_is_restored_is_what_was_saved(gan: GanState, tmp_path: Path) -> None:
    everywhere = parallel.replicate(gan, jax.devices())
    with Checkpoints(tmp_path / "c", write=True) as checkpoints:
        checkpoints.save(everywhere)
    like = jax.eval_shape(lambda: gan)
    with Checkpoints(tmp_path / "c") as checkpoints:
        restored = checkpoints.restore(like, warn=silent)
    assert restored is not None
    assert jax.tree.structure(restored) == jax.tree.structure(gan)
    np.testing.assert_array_equal(jax.random.key_data(restored.key), jax.random.key_data(gan.key))
    for a, b in zip(
        jax.tree.leaves(restored.replace(key=0)), jax.tree.leaves(gan.replace(key=0)), strict=True
    ):
        np.testing.assert_array_equal(a, b)
        assert np.asarray(a).dtype == np.asarray(b).dtype


def test_the_best_is_kept_beside_the_newest_three_also_after_reopening(gan: GanState, tmp_path: Path) -> None:
    scores = {1: 5.0, 2: 3.0, 3: None, 4: 4.0}
    with Checkpoints(tmp_path / "c") as checkpoints:
        for step, score in scores.items():
            checkpoints.save(at(gan, step), score)
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.best == 2
        for step in range(5, 9):
            checkpoints.save(at(gan, step))
        checkpoints.wait()
        assert checkpoints.steps == [2, 6, 7, 8]
        checkpoints.save(at(gan, 9), 1.0)
        checkpoints.wait()
        assert checkpoints.best == 9


def test_without_scores_there_is_no_best_and_nothing_else_is_kept(gan: GanState, tmp_path: Path) -> None:
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.restore(gan, warn=silent) is None
        for step in range(1, 6):
            checkpoints.save(at(gan, step))
        checkpoints.wait()
        assert checkpoints.best is None
        assert checkpoints.steps == [3, 4, 5]


def test_what_is_not_finite_is_not_kept(gan: GanState, tmp_path: Path) -> None:
    broken = gan.replace(d_params=jax.tree.map(lambda p: p.at[0].set(jnp.nan), gan.d_params))
    with Checkpoints(tmp_path / "c") as checkpoints:
        with pytest.raises(NonFiniteState, match="d_params"):
            checkpoints.save(broken)
        assert checkpoints.steps == []
