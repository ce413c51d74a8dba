"""The norms of both gradients: against gradients by hand and moves of plain descent, and wherever they are shown."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from begin import begin
from PIL import Image

import gan_jax
from gan_jax import pictures
from gan_jax.config import Config
from gan_jax.objectives import OBJECTIVES
from gan_jax.optimizers import OPTIMIZERS
from gan_jax.state import to_arrays
from gan_jax.step import make_update

Small = Callable[..., Config]
Command = Callable[..., subprocess.CompletedProcess[str]]

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
NORMS = ("d_gradient_norm", "g_gradient_norm")
BASE = Config(model="mlp", batch_size=8, z_dim=4, steps=6, log_every=2, checkpoint_every=2, penalty=())


def with_norms(**fields: object) -> Config:
    return Config(**{**vars(BASE), "log_gradients": True, **fields})


def norm(tree: object) -> float:
    return float(np.sqrt(sum(np.sum(np.square(np.asarray(x, np.float64))) for x in jax.tree.leaves(tree))))


def height(path: Path) -> int:
    with Image.open(path) as picture:
        return picture.height


@pytest.mark.parametrize("loss", OBJECTIVES)
def test_they_are_the_norms_of_gradients_taken_by_hand(small: Small, loss: str) -> None:
    # Far beyond what is clipped: the norms are those before clipping.
    parts, gan = begin(small(loss=loss, log_gradients=True, grad_clip=1e-3))
    real = jax.random.uniform(jax.random.key(5), (16, 28, 28, 1), minval=-1)
    z = jax.random.normal(jax.random.key(6), (16, 8))
    new, metrics = jax.jit(make_update(parts))(gan, real[None], z[None], jax.random.key(0))
    g, d, objective = parts.generator.apply, parts.discriminator.apply, OBJECTIVES[loss]

    def d_loss(params):
        return objective.d_loss(
            d({"params": params}, real), d({"params": params}, g({"params": gan.g_params}, z))
        )

    def g_loss(params):
        return objective.g_loss(
            d({"params": new.d_params}, real), d({"params": new.d_params}, g({"params": params}, z))
        )

    assert float(metrics["d_gradient_norm"]) == pytest.approx(norm(jax.grad(d_loss)(gan.d_params)), rel=1e-4)
    assert float(metrics["g_gradient_norm"]) == pytest.approx(norm(jax.grad(g_loss)(gan.g_params)), rel=1e-4)
    assert norm(gan.d_params) > 0


def test_they_are_how_far_plain_descent_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    # On eight devices: the norm is that of the averaged gradient, and not an average of norms.
    monkeypatch.setitem(OPTIMIZERS, "sgd", lambda rate, beta1, beta2: optax.sgd(rate))
    rates = {"g_learning_rate": 0.25, "d_learning_rate": 0.5}
    one, two = gan_jax.fit(with_norms(optimizer="sgd", steps=2, log_every=1, ema=0.0, **rates), IMAGES)
    assert len(jax.devices()) == 8
    for name, rate, before, after in (
        ("d_gradient_norm", 0.5, one.state.d_params, two.state.d_params),
        ("g_gradient_norm", 0.25, one.state.g_params, two.state.g_params),
    ):
        moved = norm(jax.tree.map(lambda a, b: (b - a) / rate, before, after))  # noqa: B023
        assert two.metrics[name] == pytest.approx(moved, rel=1e-3)


def test_minimax_gradients_vanish_where_non_saturating_ones_do_not() -> None:
    # At a logit of −20 the slope of −softplus is e⁻²⁰, that of softplus(−·) is 1: Goodfellow 2014, §3.
    logits = jnp.full(4, -20.0)
    slope = lambda loss: norm(jax.grad(lambda fake: OBJECTIVES[loss].g_loss(-fake, fake))(logits))
    assert slope("minimax") / slope("cross_entropy") == pytest.approx(np.exp(-20), rel=1e-3)


def test_without_them_nothing_is_logged_and_with_them_no_number_changes() -> None:
    *_, plain = gan_jax.fit(BASE, IMAGES)
    *_, logged = gan_jax.fit(with_norms(), IMAGES)
    assert logged.metrics.keys() - plain.metrics.keys() == set(NORMS)
    assert plain.metrics.items() <= logged.metrics.items()
    for name, array in to_arrays(plain.state).items():
        np.testing.assert_array_equal(array, to_arrays(logged.state)[name], err_msg=name)


@pytest.mark.long
def test_members_of_a_population_have_those_of_their_single_runs() -> None:
    configs = [with_norms(seed=seed, steps=2) for seed in range(2)]
    *_, population = gan_jax.fit_population(configs, IMAGES)
    for i, config in enumerate(configs):
        *_, single = gan_jax.fit(config, IMAGES)
        for name in NORMS:
            assert population.metrics[name][i] == pytest.approx(single.metrics[name], rel=1e-5)
    without = [Config(**{**vars(config), "log_gradients": False, "steps": 4}) for config in configs]
    *_, after = gan_jax.fit_population(without, IMAGES, start=population)
    assert after.metrics.keys().isdisjoint(NORMS)


def test_they_are_in_every_log_of_a_run_which_may_turn_them_on_later(
    in_process: Command, tmp_path: Path
) -> None:
    np.savez("own.npz", images=IMAGES, test_images=IMAGES)
    flags = [
        "--dataset=own.npz",
        "--model=mlp",
        "--batch_size=8",
        "--z_dim=4",
        "--log_every=2",
        "--workdir=w",
    ]
    assert in_process("train", *flags, "--steps=4").returncode == 0
    without = height(Path("w/losses.png"))
    done = in_process("train", *flags, "--steps=8", "--log_gradients", "--tensorboard")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in Path("w/metrics.jsonl").read_text().splitlines()]
    assert [set(NORMS) <= row.keys() for row in rows] == [False, False, True, True]
    assert all(row[name] > 0 for row in rows[2:] for name in NORMS)
    assert height(Path("w/losses.png")) > without  # a panel of their own
    [events] = Path("w/tensorboard").iterdir()
    assert all(name.encode() in events.read_bytes() for name in NORMS)


def test_norms_that_are_zero_can_be_drawn(tmp_path: Path) -> None:
    row = {"d_loss": 1.0, "g_loss": 0.0, "real_score": 1.0, "fake_score": 0.0, **dict.fromkeys(NORMS, 0.0)}
    pictures.plot_losses([{"step": i, **row} for i in range(3)], tmp_path / "a.png", "a")
    assert (tmp_path / "a.png").stat().st_size > 1000
