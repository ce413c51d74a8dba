"""Properties of the penalties: for D(x) = w·x every gradient is w, whatever the images and the key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import penalties
from gan_jax.config import Config
from gan_jax.penalties import PENALTIES
from gan_jax.state import hyperparams

SHAPE = (6, 5, 4, 1)


def linear(w: jax.Array):
    return lambda images: jnp.sum(images * w[None], axis=(1, 2, 3))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", PENALTIES)
def test_linear_discriminator(name: str, seed: int) -> None:
    w_key, real_key, fake_key, key = jax.random.split(jax.random.key(seed), 4)
    w = jax.random.normal(w_key, SHAPE[1:])
    real, fake = jax.random.normal(real_key, SHAPE), jax.random.normal(fake_key, SHAPE)
    norm = np.linalg.norm(w)
    expected = (norm - 1) ** 2 if name in ("gp", "dragan") else norm**2 / 2
    np.testing.assert_allclose(PENALTIES[name](linear(w), real, fake, key), expected, rtol=1e-5)


@pytest.mark.parametrize("name", PENALTIES)
def test_gradient_is_finite_where_the_discriminator_is_flat(name: str) -> None:
    images = jnp.ones(SHAPE)
    gradient = jax.grad(lambda w: PENALTIES[name](linear(w), images, -images, jax.random.key(0)))(
        jnp.zeros(SHAPE[1:])
    )
    assert np.isfinite(gradient).all()


def seen_by(name: str, real: jax.Array, fake: jax.Array, seed: int) -> np.ndarray:
    """The images at which the penalty looks at D's gradient."""
    seen = []
    with jax.disable_jit():

        def d_apply(images: jax.Array) -> jax.Array:
            jax.debug.callback(seen.append, images)
            return jnp.sum(images**2, axis=(1, 2, 3))

        PENALTIES[name](d_apply, real, fake, jax.random.key(seed))
        jax.effects_barrier()
    return np.asarray(seen[-1])


def test_gp_looks_on_the_segments_between_real_and_fake() -> None:
    real, fake = jnp.ones((500, 3, 3, 1)), jnp.zeros((500, 3, 3, 1))
    epsilon = seen_by("gp", real, fake, 0)
    assert np.ptp(epsilon, axis=(1, 2, 3)).max() == 0  # one ε per image
    assert np.ptp(epsilon) > 0.9
    assert abs(epsilon.mean() - 0.5) < 0.05  # U(0, 1)


def test_dragan_looks_around_the_data_within_half_a_standard_deviation() -> None:
    real = jnp.tile(jnp.asarray([-1.0, 1.0]), 500).reshape(1000, 1, 1, 1) * jnp.ones((1, 3, 3, 1))  # std 1
    moved = seen_by("dragan", real, jnp.zeros_like(real), 0) - np.asarray(real)
    assert moved.min() >= 0
    assert 0.45 < moved.max() <= 0.5
    assert abs(moved.mean() - 0.125) < 0.01  # E α·½·u = ⅛
    assert np.ptp(moved[0]) > 0  # one u per pixel


def test_r1_looks_at_real_and_r2_at_fake() -> None:
    real, fake = jnp.ones(SHAPE), -jnp.ones(SHAPE)
    np.testing.assert_array_equal(seen_by("r1", real, fake, 0), real)
    np.testing.assert_array_equal(seen_by("r2", real, fake, 0), fake)


@pytest.mark.parametrize(("name", "weight"), [("gp", 10.0), ("dragan", 10.0), ("r1", 1.0), ("r2", 1.0)])
def test_the_papers_weights(name: str, weight: float) -> None:
    # Gulrajani 2017, table 1; Kodali 2017, §2.3; Huang 2024 begins with 1.
    assert hyperparams(Config(penalty=name), 10)[f"{name}_weight"] == weight
    assert hyperparams(Config(penalty=name, penalty_weight=0.5), 10)[f"{name}_weight"] == 0.5


def test_a_penalty_of_four_arguments_and_no_known_weight_is_used_with_weight_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def mean_logit(d_apply, real, fake, key):
        return jnp.mean(d_apply(real) ** 2)

    monkeypatch.setitem(PENALTIES, "mean_logit", mean_logit)
    assert hyperparams(Config(penalty="mean_logit"), 10)["mean_logit_weight"] == 1
    real = jnp.ones(SHAPE)
    value = penalties.apply(mean_logit, linear(jnp.ones(SHAPE[1:])), real, real, jax.random.key(0), "devices")
    np.testing.assert_allclose(value, 20.0**2)
