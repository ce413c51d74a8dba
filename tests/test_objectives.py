"""The objectives at their fixed points, at extremes, and on wrong shapes; tests/test_golden.py has values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.objectives import OBJECTIVES

LN2 = float(np.log(2))
# (d_loss, g_loss, score) where D cannot tell: logits 0, or ½ for least squares, by the formulas of the papers.
UNDECIDED = {
    "cross_entropy": (0.0, LN2, LN2),
    "minimax": (0.0, LN2, -LN2),
    "least_squares": (0.5, 0.25, 0.125),
    "wasserstein": (0.0, 0.0, 0.0),
    "hinge": (0.0, 2.0, 0.0),
    "relativistic": (0.0, LN2, LN2),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_where_d_cannot_tell(name: str) -> None:
    logit, d_loss, g_loss = UNDECIDED[name]
    logits = jnp.full(8, logit)
    np.testing.assert_allclose(OBJECTIVES[name].d_loss(logits, logits), d_loss, atol=1e-7)
    np.testing.assert_allclose(OBJECTIVES[name].g_loss(logits, logits), g_loss, atol=1e-7)
    np.testing.assert_allclose(OBJECTIVES[name].score(logits, logits), (0.5, 0.5), atol=1e-7)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("size", [1e3, 1e6])
def test_extreme_logits_stay_finite_with_their_gradients(name: str, size: float) -> None:
    logits = jnp.asarray([-size, size, 0.0, -size])
    for loss in (OBJECTIVES[name].d_loss, OBJECTIVES[name].g_loss):
        value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(logits, logits[::-1])
        assert np.isfinite(value)
        assert np.isfinite(gradients).all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_each_player_gains_by_moving_its_way(name: str) -> None:
    real, fake = jnp.asarray([0.2, 0.4]), jnp.asarray([0.1, 0.7])  # between least squares' targets
    d_real, d_fake = jax.grad(OBJECTIVES[name].d_loss, argnums=(0, 1))(real, fake)
    assert (d_real < 0).all()  # D lowers its loss by raising D(x) …
    assert (d_fake > 0).all()  # … and by lowering D(G(z)) …
    assert (jax.grad(OBJECTIVES[name].g_loss, argnums=1)(real, fake) < 0).all()  # … which G wants raised


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("loss", ["d_loss", "g_loss"])
def test_wrong_shapes_are_refused(name: str, loss: str) -> None:
    function = getattr(OBJECTIVES[name], loss)
    for real, fake in (((4, 1), (4,)), ((4,), (4, 1)), ((4, 1), (4, 1)), ((4,), (5,)), ((), ())):
        with pytest.raises(ValueError, match="logits must both have the same shape"):
            function(jnp.zeros(real), jnp.zeros(fake))
