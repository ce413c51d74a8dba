"""What the experiment on weight clipping sees of a critic."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import gan_jax
from experiments import clipping
from gan_jax import data
from gan_jax.config import PRESETS, Config


@pytest.fixture
def critic(small: Callable[..., Config]) -> tuple[gan_jax.Gan, clipping.Critic, np.ndarray]:
    """A critic whose weights a large rate has driven to the bound, what is seen of it, and real images."""
    images = np.random.default_rng(0).integers(0, 256, (clipping.NUM, 8, 8, 1), np.uint8)
    config = small(loss="wasserstein", clip=0.02, d_learning_rate=1.0, steps=2, batch_size=8)
    *_, gan = gan_jax.fit(config, images)
    judge = SimpleNamespace(num=clipping.NUM, frechet=lambda drawn: float(len(drawn)))
    return gan, clipping.seen(gan, images, judge), images  # type: ignore[arg-type]


def test_norms_are_the_steepest_slopes_and_weights_those_of_the_kernels(
    critic: tuple[gan_jax.Gan, clipping.Critic, np.ndarray],
) -> None:
    gan, found, images = critic
    kernels = [layer["kernel"] for layer in gan.state.d_params.values()]
    assert len(found.weights) == sum(x.size for x in kernels) > 0
    assert np.abs(found.weights).max() <= np.float32(0.02)
    assert found.at_bound == pytest.approx(np.mean([abs(w) > 0.0198 for w in found.weights]))
    assert found.at_bound > 0.5
    # No direction is steeper: of 64 random unit vectors none, at a point half-way, and the norms are of that size.
    assert found.norms.shape == (clipping.NUM,)
    between = 0.5 * data.to_float(images[:64]) + 0.5 * data.to_float(gan.sample(64, seed=0))
    directions = np.random.default_rng(1).normal(size=between.shape).astype(np.float32)
    directions /= np.sqrt((directions**2).sum((1, 2, 3), keepdims=True))
    slopes = np.abs(gan.discriminate(between + 0.01 * directions) - gan.discriminate(between)) / 0.01
    assert slopes.max() <= 1.2 * found.norms.max()
    assert slopes.max() > 0.02 * found.norms.max()


def test_the_cosine_is_the_mean_over_all_pairs(
    critic: tuple[gan_jax.Gan, clipping.Critic, np.ndarray],
) -> None:
    units = np.random.default_rng(0).normal(size=(5, 3))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    pairs = [units[i] @ units[j] for i in range(5) for j in range(5) if i != j]
    assert clipping.mean_cosine(units) == pytest.approx(np.mean(pairs))
    assert clipping.mean_cosine(np.tile(units[:1], (4, 1))) == pytest.approx(1)  # of a linear critic
    _, found, _ = critic
    assert -1 / (clipping.NUM - 1) <= found.cosine <= 1


def test_the_table_and_the_picture_say_what_was_seen(tmp_path: Path) -> None:
    samples = np.zeros((clipping.SAMPLES, 28, 28, 1), np.uint8)
    weights = np.array([-0.01, 0.01, 0.00995, 0.0, 0.005])
    clipped = clipping.Critic(0.01, weights, np.array([1.0, 3.0]), 0.981, 12.345, samples)
    free = clipping.Critic(None, weights, np.array([2.0, 2.0]), 0.25, 1.5, samples)
    critics = {"clipped at 0.01": clipped, "gradient penalty": free}
    options = clipping.Options(steps=1500)
    text = clipping.table(critics, options)
    assert "after 1,500 steps" in text
    assert "| clipped at 0.01 | 60% | 2 | 0.50 | 0.98 | 12.35 |" in text
    assert "| gradient penalty |  | 2 | 0.00 | 0.25 | 1.50 |" in text
    clipping.draw(critics, options, tmp_path / "clipping.png")
    assert (tmp_path / "clipping.png").read_bytes().startswith(b"\x89PNG")


def test_only_what_holds_the_critic_back_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    import experiments.presets  # noqa: F401

    for name in ("gan_conv", "wgan_conv"):  # not for the files that are tested after this one
        monkeypatch.setitem(PRESETS, name, PRESETS.pop(name))
    runs = clipping.configs_of(clipping.Options(steps=7))
    values = [vars(config) for configs in runs.values() for config in configs]
    assert {name for name in values[0] if len({str(v[name]) for v in values}) > 1} == {"clip", "penalty"}
    assert [config.clip for config in runs["clip"]] == list(clipping.CLIPS)
