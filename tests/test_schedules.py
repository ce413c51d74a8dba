"""Schedules of the learning rates and clipping of gradients, against Optax's own; AdamW against its paper's formula."""

import dataclasses
import functools
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from begin import begin, by_the_gradient

import gan_jax
from gan_jax.config import Config
from gan_jax.optimizers import OPTIMIZERS, SCHEDULES, Schedule, schedule_of
from gan_jax.parts import Parts
from gan_jax.state import GanState
from gan_jax.step import make_update
from gan_jax.workdir import path_of

Command = Callable[..., subprocess.CompletedProcess[str]]
Small = Callable[..., Config]

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
TOTAL = 50
OPTAX = {
    "cosine": optax.cosine_decay_schedule(1.0, TOTAL),
    "linear": optax.linear_schedule(1.0, 0.0, TOTAL),
    "cooldown": optax.linear_schedule(1.0, 0.0, TOTAL / 4, transition_begin=3 * TOTAL / 4),
}


@pytest.fixture
def sgd(monkeypatch: pytest.MonkeyPatch) -> None:
    """An optimizer that moves by the gradient itself, times the rate."""
    monkeypatch.setitem(OPTIMIZERS, "sgd", by_the_gradient)


@functools.lru_cache
def update_of(parts: Parts) -> Any:
    return jax.jit(make_update(parts))


def updated(config: Config, step: int = 0) -> tuple[GanState, GanState]:
    """The state at a step, and after it; all else in it is as at the start."""
    parts, gan = begin(config, (8, 8, 1))
    gan = gan.replace(step=gan.step + step)
    real = jax.random.uniform(jax.random.key(1), (config.d_steps, 16, 8, 8, 1), minval=-1)
    z = jax.random.normal(jax.random.key(2), (config.d_steps, 16, config.z_dim))
    return gan, update_of(parts)(gan, real, z, jax.random.key(3))[0]


def moves(net: str, before: GanState, after: GanState) -> Any:
    """How far each weight of a net, "g" or "d", moved."""
    return jax.tree.map(
        lambda a, b: np.asarray(b - a), *(getattr(gan, f"{net}_params") for gan in (before, after))
    )


def only(net: str) -> dict[str, float]:
    """Rates at which this net moves by its gradient, and the other one stands still."""
    return {f"{other}_learning_rate": 1.0 if other == net else 1e-30 for other in "gd"}


def flat(tree: Any) -> np.ndarray:
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


# ---- schedules ----


@pytest.mark.parametrize("name", OPTAX)
def test_a_schedules_factor_is_optaxs(name: str) -> None:
    factor = SCHEDULES[name]
    assert factor is not None
    for step in range(TOTAL + 1):
        np.testing.assert_allclose(factor(jnp.float32(step / TOTAL)), OPTAX[name](step), atol=1e-6)


@pytest.mark.parametrize(("net", "d_steps"), [("g", 2), ("d", 1)])
@pytest.mark.parametrize("name", OPTAX)
def test_a_step_is_the_factor_of_what_it_would_be(
    small: Small, sgd: None, name: str, net: str, d_steps: int
) -> None:
    config = small(optimizer="sgd", steps=TOTAL, d_steps=d_steps, **only(net))
    for step in (20, TOTAL - 1):
        plain = flat(moves(net, *updated(config, step)))
        scheduled = flat(moves(net, *updated(dataclasses.replace(config, schedule=name), step)))
        size = np.abs(plain).max()
        assert size > 1e-3
        np.testing.assert_allclose(scheduled, OPTAX[name](step) * plain, atol=1e-3 * OPTAX[name](step) * size)


# Huang 2024's values at the start, in the middle and at the end of a run, of a rate of 2e-4, γ = 0.05, β₂ = 0.99.
R3GAN = {0: (2e-4, 0.05, 0.9), TOTAL // 2: (1.25e-4, 0.0275, 0.945), TOTAL: (5e-5, 0.005, 0.99)}


@pytest.mark.parametrize("step", R3GAN)
def test_r3gans_schedule_has_its_papers_values(step: int) -> None:
    rate, weight, beta2 = R3GAN[step]
    schedule = schedule_of("r3gan")
    assert schedule.updates is not None
    assert schedule.penalties is not None
    assert schedule.forgetting is not None
    share = jnp.float32(step / TOTAL)
    assert float(2e-4 * schedule.updates(share)) == pytest.approx(rate)
    assert float(0.05 * schedule.penalties(share)) == pytest.approx(weight)
    assert float(1 - 0.01 * schedule.forgetting(share)) == pytest.approx(beta2)


def test_a_schedule_moves_penalties_and_the_forgetting_of_squares(
    small: Small, sgd: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = Schedule(penalties=lambda share: 3 * share, forgetting=lambda share: 10.0 - 9.0 * share)
    monkeypatch.setitem(SCHEDULES, "mine", schedule)
    config = small(steps=TOTAL, penalty=("r1",), penalty_weight=0.5, **only("d"))
    # D's gradient is linear in the weight, so 3 × 0.4 times the weight is what the schedule makes of it at step 20.
    heavier = dataclasses.replace(config, penalty_weight=0.6)
    scheduled = dataclasses.replace(config, schedule="mine")
    plain, wanted, found = (flat(moves("d", *updated(c, 20))) for c in (config, heavier, scheduled))
    assert np.abs(wanted - plain).max() > 1e-5
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    # Adam's squares after one step are (1 − β₂) g²; at step 20 they are forgotten 6.4 times as fast.
    config = small(steps=TOTAL, beta2=0.99)
    squares = [
        flat(updated(dataclasses.replace(config, schedule=name), 20)[1].d_opt[0].nu)
        for name in ("constant", "mine")
    ]
    np.testing.assert_allclose(squares[1], 6.4 * squares[0], rtol=1e-4)
    # And never more than at once.
    squares = [
        flat(updated(dataclasses.replace(config, schedule=name, beta2=b), 20)[1].d_opt[0].nu)
        for name, b in (("constant", 0.0), ("mine", 0.5))
    ]
    np.testing.assert_allclose(squares[1], squares[0], rtol=1e-4)


@pytest.mark.parametrize("step", range(4))
def test_only_every_third_step_has_the_penalties_thrice_as_strong(small: Small, sgd: None, step: int) -> None:
    penalized = small(penalty=("r1", "r2"), penalty_weight=0.1, **only("d"))
    as_there = dataclasses.replace(penalized, penalty_weight=0.3) if step % 3 == 0 else small(**only("d"))
    wanted = flat(moves("d", *updated(as_there, step)))
    found = flat(moves("d", *updated(dataclasses.replace(penalized, penalty_every=3), step)))
    assert np.abs(wanted - flat(moves("d", *updated(penalized, step)))).max() > 1e-5
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_steps_without_the_penalties_do_not_compute_them(small: Small) -> None:
    def conds(every: int) -> int:
        parts, gan = begin(small(penalty=("r1", "r2"), penalty_every=every), (8, 8, 1))
        real = jnp.zeros((1, 16, 8, 8, 1))
        z = jnp.zeros((1, 16, parts.z_dim))
        return str(jax.make_jaxpr(make_update(parts))(gan, real, z, jax.random.key(0))).count(" cond[")

    assert conds(1) == 0
    assert conds(4) >= 1


def test_what_is_logged_of_penalties_left_out_is_their_mean(small: Small) -> None:
    # At rates that move nothing all steps of a chunk have the same nets, and with one batch of images the same images.
    still = {"g_learning_rate": 1e-30, "d_learning_rate": 1e-30}
    config = small(steps=6, log_every=6, batch_size=8, penalty="r1", **still)
    images = np.tile(IMAGES[:1], (8, 1, 1, 1))
    logged = [
        [gan.metrics["r1_penalty"] for gan in gan_jax.fit(c, images)][-1]
        for c in (config, dataclasses.replace(config, penalty_every=3))
    ]
    assert logged[0] > 1e-6
    assert logged[1] == pytest.approx(logged[0], rel=1e-5)


def test_the_rates_in_the_state_stay_and_a_run_may_be_interrupted(small: Small) -> None:
    config = small(steps=6, log_every=3, schedule="cosine", batch_size=8)
    begun, whole = gan_jax.fit(config, IMAGES)
    for gan in (begun, whole):
        rates = [float(gan.state.hyperparams[f"{net}_learning_rate"]) for net in "gd"]
        assert rates == [np.float32(1e-3)] * 2
        assert float(gan.state.hyperparams["total_steps"]) == 6
    [again] = gan_jax.fit(config, IMAGES, start=begun)
    jax.tree.map(np.testing.assert_array_equal, again.state.g_params, whole.state.g_params)


def test_a_schedule_is_over_the_length_that_the_epochs_make(small: Small) -> None:
    # 100 images make 6 batches of 16, of which 3 epochs make 9 steps of 2.
    _, gan = begin(small(schedule="cosine", epochs=3, d_steps=2), (8, 8, 1), num_images=100)
    assert float(gan.hyperparams["total_steps"]) == 9
    _, constant = begin(small(epochs=3), (8, 8, 1))
    assert "total_steps" not in constant.hyperparams


def test_another_length_is_another_run_under_a_schedule(in_process: Command) -> None:
    np.savez("own.npz", images=IMAGES, test_images=IMAGES)
    flags = (
        "--dataset=own.npz",
        "--model=mlp",
        "--penalty",
        "--batch_size=8",
        "--z_dim=8",
        "--ema=0",
    )
    run = (*flags, "--schedule=cosine", "--workdir=w")
    assert in_process("train", *run, "--steps=10").returncode == 0
    before = Path("w/config.json").read_bytes()
    longer = in_process("train", *run, "--steps=12")
    assert longer.returncode == 2
    [line] = longer.stderr.splitlines()
    assert "a run of 10 steps, not 12, over which --schedule=cosine lowers the learning rates" in line
    assert Path("w/config.json").read_bytes() == before
    same = in_process("train", *run, "--epochs=2")  # of 40 images, 5 batches
    assert "resuming at step 10 of 10" in same.stdout


def test_lengths_under_a_schedule_have_folders_of_their_own() -> None:
    paths = [path_of(Config(schedule=name, epochs=n)) for name in SCHEDULES for n in (5, 6)]
    assert len(set(paths)) == 2 * len(SCHEDULES) - 1  # constant's is one


# ---- clipping of gradients ----


@pytest.mark.parametrize("net", ["g", "d"])
def test_gradients_are_clipped_as_optax_clips_them(small: Small, sgd: None, net: str) -> None:
    config = small(optimizer="sgd", loss="cross_entropy", **only(net))
    gradient = jax.tree.map(np.negative, moves(net, *updated(config)))
    norm = float(np.linalg.norm(flat(gradient)))
    clip = optax.clip_by_global_norm(0.1 * norm)
    expected, _ = clip.update(gradient, clip.init(gradient))
    found = moves(net, *updated(dataclasses.replace(config, grad_clip=0.1 * norm)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(-a, b, atol=1e-4 * norm), found, expected)
    np.testing.assert_allclose(np.linalg.norm(flat(found)), 0.1 * norm, rtol=1e-3)


def test_a_gradient_below_the_norm_keeps_its_bits(small: Small) -> None:
    _, plain = updated(small())
    _, clipped = updated(small(grad_clip=1e6))
    for net in "gd":
        jax.tree.map(
            np.testing.assert_array_equal, *(getattr(gan, f"{net}_params") for gan in (plain, clipped))
        )


# ---- optimizers ----


@pytest.mark.parametrize(("name", "decay"), [("adam", 0.0), ("adamw", 0.01)])
def test_adam_and_adamw_are_their_papers(name: str, decay: float) -> None:
    # Loshchilov & Hutter 2019, algorithm 2, with PyTorch's ε and decay; without decay it is Kingma & Ba's.
    rate, beta1, beta2 = 0.01, 0.5, 0.9
    optimizer = OPTIMIZERS[name](*map(jnp.float32, (rate, beta1, beta2)))
    params, x, m, v = {"w": jnp.asarray(2.0)}, 2.0, 0.0, 0.0
    opt = optimizer.init(params)
    for t, gradient in enumerate((1.0, -2.0, 0.5), 1):
        updates, opt = optimizer.update({"w": jnp.asarray(gradient)}, opt, params)
        params = optax.apply_updates(params, updates)
        m, v = beta1 * m + (1 - beta1) * gradient, beta2 * v + (1 - beta2) * gradient**2
        x -= rate * (m / (1 - beta1**t) / ((v / (1 - beta2**t)) ** 0.5 + 1e-8) + decay * x)
        np.testing.assert_allclose(params["w"], x, rtol=1e-6)
