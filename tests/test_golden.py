"""Against numbers made by PyTorch and others; the fixtures are in $GAN_JAX_GOLDEN, else in tests/golden."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from begin import begin

from gan_jax import data
from gan_jax.config import PRESETS
from gan_jax.objectives import OBJECTIVES
from gan_jax.penalties import PENALTIES
from gan_jax.step import make_update

GOLDEN = Path(os.environ.get("GAN_JAX_GOLDEN") or Path(__file__).parent / "golden")


def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return dict(file)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("loss", ["d_loss", "g_loss"])
def test_objectives(name: str, loss: str) -> None:
    # The logits include ±1e4-like extremes, where log(sigmoid) written naively is infinite.
    values = golden("objectives")
    function = jax.jit(getattr(OBJECTIVES[name], loss))
    args = values["real_logits"], values["fake_logits"]
    with jax.enable_x64(True):
        np.testing.assert_allclose(function(*args), values[f"{name}.{loss}"], rtol=1e-12)
    single = function(*(jnp.float32(x) for x in args))
    np.testing.assert_allclose(single, values[f"{name}.{loss}"], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "value", "factor"),
    [
        ("gp", "unit_norm", 1.0),
        ("dragan", "unit_norm", 1.0),
        ("r1", "zero_centred", 0.5),
        ("r2", "zero_centred", 0.5),
    ],
)
def test_penalties_and_their_gradients(name: str, value: str, factor: float) -> None:
    values = golden("penalties")
    with jax.enable_x64(True):
        x, key = jnp.asarray(values["x"]), jax.random.key(0)
        # DRAGAN looks around the real images, at a distance in proportion to their spread: grey ones have none.
        # D sees them moved to x, where the others look too: real = fake, so that x̂ = x whatever ε.
        grey = jnp.full_like(x, 0.25)
        images, move = (grey, x - grey) if name == "dragan" else (x, jnp.zeros_like(x))

        def penalty(params: dict[str, jax.Array]) -> jax.Array:
            def d_apply(images: jax.Array) -> jax.Array:
                return (jnp.tanh((images + move) @ params["W1"] + params["b1"][None]) @ params["W2"])[:, 0]

            return PENALTIES[name](d_apply, images, images, key)

        params = {k: jnp.asarray(values[k]) for k in ("W1", "b1", "W2")}
        result, gradients = jax.value_and_grad(penalty)(params)
        np.testing.assert_allclose(result, factor * values[value], rtol=1e-6)
        for k, gradient in gradients.items():
            expected = factor * values[f"{value}.grad.{k}"]
            # `rtol` of each tensor's scale: single entries pass through zero.
            np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def test_twenty_steps_of_the_tutorials_program(mnist: np.ndarray) -> None:
    values = golden("seed_program")
    config = PRESETS["gan"]
    parts, gan = begin(config, num_images=len(mnist))

    def params(net: str, when: str) -> dict:
        return {
            f"Dense_{i}": {
                part: jnp.asarray(values[f"{net}.{i}.{part}.{when}"]) for part in ("kernel", "bias")
            }
            for i in range(2)
        }

    gan = gan.replace(g_params=params("g", "init"), d_params=params("d", "init"))
    update = jax.jit(make_update(parts))
    for i in range(20):
        real = data.to_float(jnp.asarray(mnist[values["real_index"][i]]))
        gan, metrics = update(gan, real[None], jnp.asarray(values["z"][i])[None], jax.random.key(0))
        np.testing.assert_allclose(metrics["d_loss"], values["d_loss"][i], rtol=1e-4)
        np.testing.assert_allclose(metrics["g_loss"], values["g_loss"][i], rtol=1e-4)
    for net, final in (("g", gan.g_params), ("d", gan.d_params)):
        for path, expected in jax.tree.leaves_with_path(params(net, "final")):
            found = final[path[0].key][path[1].key]
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4, err_msg=f"{net} {path}")
