"""`fit`, `load` and the `Gan` that both give: on own images, in any thread, continued, and without a trace on disk."""

import dataclasses
import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import gan_jax
from gan_jax import data, pictures
from gan_jax.config import Config
from gan_jax.errors import Diverged, UserError
from gan_jax.gan import Gan
from gan_jax.models import MODELS, Networks, Spec
from gan_jax.state import to_arrays

Command = Callable[..., Any]
Small = Callable[..., Config]

NUM = 70  # 4 batches of 16, and 6 images that each epoch drops
IMAGES = np.random.default_rng(0).integers(0, 256, (NUM, 16, 16, 3), np.uint8)
LABELS = np.arange(NUM) % 3


@pytest.fixture(autouse=True)
def one_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One device, as users have it, and an empty folder to be in."""
    [first, *_] = jax.devices()
    monkeypatch.setattr(jax, "devices", lambda: [first])
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def small(small: Small) -> Small:
    """In chunks of five steps, so that most of these tests share one program."""
    return lambda **fields: small(**{"log_every": 5, **fields})


def last(config: Config, **options: Any) -> Gan:
    """The last Gan of a run on own images."""
    [*_, gan] = gan_jax.fit(config, **{"images": IMAGES, **options})
    return gan


def assert_same_state(one: Gan, other: Gan) -> None:
    first, second = to_arrays(one.state), to_arrays(other.state)
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


@pytest.fixture
def gan(small: Small) -> Gan:
    """After 10 steps."""
    return last(small(steps=10))


@pytest.fixture
def conditional(small: Small) -> Gan:
    """After 5 steps, of three classes."""
    return last(small(steps=5, conditional=True), labels=LABELS)


# ---- fit ----


def test_a_gan_comes_at_each_stop_and_says_where_it_is(small: Small) -> None:
    config = small(steps=18, checkpoint_every=12)
    gans = list(gan_jax.fit(config, IMAGES))
    assert [gan.step for gan in gans] == [5, 10, 12, 15, 18]
    assert [gan.epoch for gan in gans] == [2, 3, 3, 4, 5]
    for gan in gans:
        assert gan.config == config
        assert int(gan.state.step) == gan.step
        assert gan.metrics.keys() == {"d_loss", "g_loss", "real_score", "fake_score"}
        assert all(type(value) is float and np.isfinite(value) for value in gan.metrics.values())


def test_metrics_are_the_means_of_the_chunk(small: Small) -> None:
    each = [gan.metrics for gan in gan_jax.fit(small(steps=5, log_every=1), IMAGES)]
    for name, value in last(small(steps=5)).metrics.items():
        np.testing.assert_allclose(value, np.mean([metrics[name] for metrics in each]), rtol=1e-5)


def test_fit_prints_nothing_and_writes_nothing(
    small: Small, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = small(steps=10, workdir="here")
    for gan in gan_jax.fit(config, IMAGES):
        gan.grid()
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_progress_draws_a_bar_and_no_more(small: Small, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in gan_jax.fit(small(steps=10), IMAGES, progress=True):
        pass
    out, err = capfd.readouterr()
    assert out == ""
    assert "10/10" in err
    assert "100%" in err


def test_the_data_set_of_the_config_is_taken_without_images(small: Small, mnist: np.ndarray) -> None:
    [gan] = gan_jax.fit(small(steps=5))
    assert_same_state(gan, last(small(steps=5), images=mnist))


def test_a_second_fit_of_the_same_shapes_compiles_nothing(small: Small, compiled: list[str]) -> None:
    config = small(steps=10, z_dim=9)  # of no other test

    def run(config: Config) -> None:
        compiled.clear()
        for gan in gan_jax.fit(config, IMAGES):
            gan.sample(3)

    run(config)
    assert compiled  # else the event has another name, and what follows could not fail
    run(dataclasses.replace(config, seed=7, g_learning_rate=1e-4, beta1=0.1, steps=12))
    assert not compiled


def test_continued_it_ends_with_the_bits_of_one_run(small: Small) -> None:
    config = small(steps=30, d_steps=3, ema=0.9)
    begun = last(dataclasses.replace(config, steps=18))  # within an epoch, and within a chunk
    assert_same_state(last(config, start=begun), last(config))


def test_one_stopped_on_the_way_goes_on_to_the_same_bits(small: Small) -> None:
    config = small(steps=12)
    for stopped in gan_jax.fit(config, IMAGES):  # noqa: B007
        break
    assert stopped.step == 5
    assert_same_state(last(config, start=stopped), last(config))


def test_an_earlier_gan_stays_what_it_was(small: Small) -> None:
    run = gan_jax.fit(small(steps=12), IMAGES)
    first = next(run)
    samples, logits = first.sample(8), np.asarray(first.discriminate(IMAGES[:4]))
    second = next(run)
    run.close()  # type: ignore[attr-defined]
    assert (second.sample(8) != samples).any()
    np.testing.assert_array_equal(first.sample(8), samples)
    np.testing.assert_array_equal(first.discriminate(IMAGES[:4]), logits)


def test_a_rate_that_is_changed_on_the_way_is_the_one_used(small: Small) -> None:
    begun = last(small(steps=10))
    same = last(small(steps=15), start=begun)
    still = last(small(steps=15, g_learning_rate=1e-30), start=begun)
    params = lambda tree: np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])
    np.testing.assert_array_equal(params(still.state.g_params), params(begun.state.g_params))
    assert (params(still.state.d_params) != params(begun.state.d_params)).any()
    assert (params(same.state.g_params) != params(begun.state.g_params)).any()
    assert float(still.state.hyperparams["g_learning_rate"]) == np.float32(1e-30)


def test_a_penalty_weight_may_change_on_the_way(small: Small) -> None:
    begun = last(small(steps=5, penalty="r1"))
    other = last(small(steps=8, penalty="r1", penalty_weight=0.5), start=begun)
    assert other.metrics["r1_penalty"] > 0
    assert float(other.state.hyperparams["r1_weight"]) == 0.5


def test_what_is_a_rate_may_be_switched_on_and_off_on_the_way(small: Small) -> None:
    begun = last(small(steps=5))
    # As good as off, each of them: what changes is that they are on.
    other = last(small(steps=10, clip=1e3, grad_clip=1e9, ema=1e-30), start=begun)
    same = last(small(steps=10), start=begun)
    jax.tree.map(np.testing.assert_array_equal, other.state.g_params, same.state.g_params)
    jax.tree.map(np.testing.assert_array_equal, other.state.g_ema, {"params": other.state.g_params})
    assert_same_state(last(small(steps=15), start=other), last(small(steps=15)))
    assert other.state.hyperparams.keys() - same.state.hyperparams.keys() == {"clip", "grad_clip", "ema"}


def test_it_goes_on_with_other_images_of_the_same_shape(small: Small) -> None:
    begun = last(small(steps=6))
    dark = last(small(steps=8), start=begun, images=IMAGES[:40] // 2)
    assert sorted(np.asarray(dark.state.order)) == list(range(40))  # each once in an epoch


def test_labels_make_it_conditional(conditional: Gan) -> None:
    assert conditional.parts.num_classes == 3
    np.testing.assert_array_equal(conditional.classes(5), [0, 1, 2, 0, 1])


def test_other_classes_cannot_go_on(conditional: Gan) -> None:
    with pytest.raises(UserError, match="its labels are below 3 and these below 4"):
        gan_jax.fit(conditional.config, IMAGES, np.arange(NUM) % 4, start=conditional)


def test_labels_are_left_alone_unless_it_is_conditional(small: Small) -> None:
    assert_same_state(last(small(steps=5), labels=LABELS), last(small(steps=5)))


def test_it_runs_in_any_thread(small: Small) -> None:
    found: list[Gan] = []
    thread = threading.Thread(target=lambda: found.append(last(small(steps=6))))
    thread.start()
    thread.join()
    assert_same_state(found[0], last(small(steps=6)))


def test_a_run_that_diverges_raises_and_says_where(small: Small) -> None:
    run = gan_jax.fit(small(steps=10, d_learning_rate=1e20), IMAGES)
    with pytest.raises(Diverged, match=r"^step 1: g_loss is -?(inf|nan)$"):
        list(run)


def test_a_run_whose_last_step_loses_a_number_diverges_too(small: Small) -> None:
    config = small(steps=1, optimizer="rmsprop", beta2=0.9, g_learning_rate=3e38)
    with pytest.raises(Diverged, match=r"^step 1: \.g_\S+ is not finite$"):
        list(gan_jax.fit(config, IMAGES))


def test_a_picture_that_cannot_be_is_refused(small: Small) -> None:
    gan = last(small(steps=1))
    for asked in ({"columns": -2}, {"columns": 0}, {"scale": 0}):
        [(name, value)] = asked.items()
        with pytest.raises(UserError, match=f"{name}={value} is not allowed"):
            gan.grid(4, **asked)


def test_a_path_is_no_name_of_a_registered_data_set() -> None:
    Path("mnist").mkdir()
    for i in range(4):
        Image.fromarray(np.full((8, 8), i, np.uint8)).save(f"mnist/{i}.png")
    config = Config(dataset=Path("mnist"), model="mlp", batch_size=1)
    assert config.dataset == "./mnist"
    assert data.load(config.dataset, "train")[0].shape[1:] == (8, 8, 1)
    assert Config(dataset=Path("photos")).dataset == "photos"
    assert Config(dataset="mnist").dataset == "mnist"


@pytest.mark.parametrize(
    ("fields", "options", "message"),
    [
        ({"loss": "wasserstein"}, {}, r"differing in loss \(hinge there, wasserstein here\)"),
        ({"seed": 1, "z_dim": 9}, {}, r"z_dim \(8 there, 9 here\), seed \(0 there, 1 here\)"),
        ({}, {"images": IMAGES[:, ::2, ::2]}, r"its images are \[16, 16, 3\] and these \[8, 8, 3\]"),
        ({"steps": 9}, {}, "at step 10, past the 9 asked for"),
    ],
)
def test_what_a_gan_cannot_go_on_as_is_refused_at_the_call(
    gan: Gan, fields: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        gan_jax.fit(
            dataclasses.replace(gan.config, **{"steps": 20, **fields}),
            **{"images": IMAGES, "start": gan, **options},
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": None, "labels": LABELS}, "labels were given without their images"),
        ({"labels": LABELS[1:]}, "one for each of the 70 images"),
        ({"images": IMAGES / 255}, "images must be uint8"),
        ({"images": IMAGES[:10]}, "--batch_size=16 is more than the 10 images"),
        ({"config": {"conditional": True}}, "a conditional GAN needs labels, and these images have none"),
        ({"config": {"dataset": "nowhere"}, "images": None}, "unknown dataset 'nowhere'"),
    ],
)
def test_what_cannot_be_trained_is_refused_at_the_call(
    small: Small, options: dict[str, Any], message: str
) -> None:
    config = small(steps=2, **options.pop("config", {}))
    with pytest.raises(UserError, match=message):
        gan_jax.fit(config, **{"images": IMAGES, **options})


def own_nets(level: float) -> Callable[[Spec], Networks]:
    """Nets as a notebook's cell defines them: each time new classes of the old names."""

    class Generator(nn.Module):
        @nn.compact
        def __call__(self, z, labels=None, *, train=False):
            return level * jnp.tanh(nn.Dense(16 * 16 * 3)(z)).reshape(-1, 16, 16, 3)

    class Discriminator(nn.Module):
        @nn.compact
        def __call__(self, images, labels=None, *, train=False):
            return nn.Dense(1)(images.reshape(len(images), -1))[:, 0]

    return lambda spec: Networks(Generator(), Discriminator())


def test_a_net_defined_anew_under_its_name_is_the_one_trained(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "mine", own_nets(1.0))
    config = small(model="mine", steps=5)
    before = last(config)
    assert np.ptp(before.sample(4)) > 100
    monkeypatch.setitem(MODELS, "mine", own_nets(0.0))
    assert np.ptp(last(config).sample(4)) == 0
    assert np.ptp(before.sample(4)) > 100
    with pytest.raises(UserError, match="a net, loss, penalty or optimizer was defined anew"):
        gan_jax.fit(config, IMAGES, start=before)


# ---- Gan ----


def test_samples_repeat_and_the_first_do_not_depend_on_how_many_there_are(gan: Gan) -> None:
    samples = gan.sample(70, seed=3)
    assert (samples.shape, samples.dtype) == ((70, 16, 16, 3), np.uint8)
    np.testing.assert_array_equal(gan.sample(70, seed=3), samples)
    for num in (1, 64, 65):
        np.testing.assert_array_equal(gan.sample(num, seed=3), samples[:num])
    assert (gan.sample(70, seed=4) != samples).any()
    assert len(gan.sample()) == 64


def test_a_label_draws_one_class(conditional: Gan) -> None:
    expected = conditional.draw(conditional.latents(6, seed=2), np.full(6, 1))
    np.testing.assert_array_equal(conditional.sample(6, seed=2, label=1), expected)
    assert (conditional.sample(6, seed=2, label=2) != expected).any()
    assert (conditional.sample(6, seed=2) != expected).any()


def test_generated_images_are_floats_and_samples_are_they_in_uint8(gan: Gan) -> None:
    z = gan.latents(5)
    images = gan.generate(z)
    assert (images.shape, images.dtype) == ((5, 16, 16, 3), jnp.float32)
    assert float(jnp.abs(images).max()) <= 1
    drawn = gan.draw(z)
    np.testing.assert_array_equal(drawn, gan.sample(5))
    # A half may be rounded to either side where a batch of another size sums in another order.
    assert np.abs(np.asarray(data.to_uint8(images), int) - drawn).max() <= 1


def test_it_may_be_traced_with_its_labels(conditional: Gan) -> None:
    z, labels = conditional.latents(4), np.arange(4) % 3
    traced = jax.jit(lambda z, labels: conditional.discriminate(conditional.generate(z, labels), labels))
    plain = conditional.discriminate(conditional.generate(z, labels), labels)
    np.testing.assert_allclose(traced(z, jnp.asarray(labels)), plain, rtol=1e-4, atol=1e-5)


def test_the_discriminator_takes_both_ranges_of_numbers(gan: Gan, conditional: Gan) -> None:
    logits = gan.discriminate(IMAGES[:5])
    assert (logits.shape, logits.dtype) == ((5,), jnp.float32)
    np.testing.assert_array_equal(gan.discriminate(data.to_float(jnp.asarray(IMAGES[:5]))), logits)
    judged = [np.asarray(conditional.discriminate(IMAGES[:5], np.full(5, label))) for label in range(3)]
    assert (judged[0] != judged[1]).all()


def test_gradients_flow_through_both_nets_to_the_noise(gan: Gan) -> None:
    score = jax.jit(lambda z: gan.discriminate(gan.generate(z)).sum())
    z, way = gan.latents(4), gan.latents(4, seed=1)
    slope = float((jax.grad(score)(z) * way).sum())
    difference = float(score(z + 1e-3 * way) - score(z - 1e-3 * way)) / 2e-3
    assert abs(slope) > 1e-3
    np.testing.assert_allclose(slope, difference, rtol=0.05)


def test_a_grid_shows_itself_in_a_notebook(gan: Gan, conditional: Gan) -> None:
    picture = gan.grid()
    assert picture.size == (8 * 18 + 2, 8 * 18 + 2)
    with Image.open(io.BytesIO(picture._repr_png_())) as shown:  # what a notebook calls
        np.testing.assert_array_equal(np.asarray(shown), pictures.mosaic(gan.sample(64, gan.config.seed)))
    assert gan.grid(6, seed=5).size == (3 * 18 + 2, 2 * 18 + 2)
    rows = np.asarray(conditional.grid())  # a class in each
    assert rows.shape == (3 * 18 + 2, 8 * 18 + 2, 3)
    third = conditional.sample(24, conditional.config.seed)[2::3]
    np.testing.assert_array_equal(rows[-20:], pictures.mosaic(third, 8))
    assert conditional.grid(6, label=2).size == (3 * 18 + 2, 2 * 18 + 2)


def test_its_name_says_what_it_is_and_where(gan: Gan) -> None:
    assert repr(gan) == "<Gan: hinge, 16×16×3, step 10 of 10>"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda gan: gan.sample(0), "--num=0 is not allowed"),
        (lambda gan: gan.sample(1.5), "--num=1.5 is not allowed"),
        (lambda gan: gan.sample(10**7), "--num=10000000 is not allowed: it must be from 1 to 1000000"),
        (lambda gan: gan.sample(2, seed=-1), "--seed=-1 is not allowed"),
        (lambda gan: gan.sample(2, label=1), "--label needs a conditional run"),
        (lambda gan: gan.generate(np.zeros((2, 9))), r"z must be \[n, 8\], n at least 1, not \[2, 9\]"),
        (lambda gan: gan.generate(np.zeros(8)), r"z must be \[n, 8\], n at least 1, not \[8\]"),
        (lambda gan: gan.generate(np.zeros((2, 8)), [0, 1]), "labels need a conditional GAN"),
        (
            lambda gan: gan.discriminate(IMAGES[..., :1]),
            r"must be \[n, 16, 16, 3\], n at least 1, not \[70, 16, 16, 1\]",
        ),
        (lambda gan: gan.discriminate(IMAGES[:0]), r"n at least 1, not \[0, 16, 16, 3\]"),
        (lambda gan: gan.discriminate(IMAGES.astype(np.int64)), r"uint8, or floats in \[−1, 1\], not int64"),
        (lambda gan: gan.discriminate(IMAGES > 3), r"uint8, or floats in \[−1, 1\], not bool"),
        (
            lambda gan: gan.discriminate(IMAGES.astype(float)),
            r"floats must be in \[−1, 1\], and there is ±255",
        ),
        (lambda gan: gan.discriminate(IMAGES * np.nan), r"floats must be in \[−1, 1\], and there is ±nan"),
        (lambda gan: gan.draw(np.zeros((0, 8))), r"n at least 1, not \[0, 8\]"),
        (lambda gan: gan.generate(np.zeros((0, 8))), r"n at least 1, not \[0, 8\]"),
        (lambda gan: gan_jax.load(None), "--workdir=None is not allowed: it must be a path"),
        (lambda gan: gan.discriminate(IMAGES, LABELS), "labels need a conditional GAN"),
    ],
)
def test_what_it_cannot_draw_or_judge_is_refused(
    gan: Gan, call: Callable[[Gan], object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        call(gan)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda gan: gan.sample(2, label=3), "--label=3 is not allowed: this run's are 0 to 2"),
        (lambda gan: gan.sample(2, label=1.5), "--label=1.5 is not allowed"),
        (lambda gan: gan.generate(np.zeros((2, 8))), r"needs labels \[2\]"),
        (lambda gan: gan.generate(np.zeros((2, 8)), [0]), r"needs labels \[2\]"),
        (lambda gan: gan.generate(np.zeros((2, 8)), [0, 3]), "labels must be whole numbers from 0 to 2"),
        (lambda gan: gan.draw(np.zeros((2, 8)), [-1, 0]), "from 0 to 2"),
        (lambda gan: gan.draw(np.zeros((2, 8)), [0.0, 1.0]), "whole numbers"),
        (lambda gan: gan.discriminate(IMAGES), r"needs labels \[70\]"),
    ],
)
def test_labels_that_there_are_not_are_refused(
    conditional: Gan, call: Callable[[Gan], object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        call(conditional)


# ---- load ----


def test_a_commands_run_is_loaded_drawn_from_and_continued_to_the_commands_bits(
    in_process: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--model=mlp", "--penalty", "--batch_size=16", "--z_dim=8", "--ema=0", "--log_every=5")
    for name, steps in (("run", 10), ("longer", 15)):
        assert in_process("train", *flags, f"--steps={steps}", f"--workdir={name}").returncode == 0
    assert in_process("sample", "--workdir=run", "--num=5", "--seed=3", "--out=a.npz").returncode == 0
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in ("run", "~/run", tmp_path / "run", Path("~/run")):
        gan = gan_jax.load(path)
        assert (gan.step, gan.plan.total, gan.metrics) == (10, 10, {})
        with np.load("a.npz") as file:
            np.testing.assert_array_equal(gan.sample(5, seed=3), file["images"])
    grid = np.asarray(gan.grid())
    with Image.open("run/samples.png") as picture:
        np.testing.assert_array_equal(grid, np.asarray(picture))
    [longer] = gan_jax.fit(dataclasses.replace(gan.config, steps=15), start=gan)
    assert_same_state(longer, gan_jax.load("longer"))
    with pytest.raises(UserError, match="nowhere holds no run"):
        gan_jax.load("nowhere")
    for wrong in (1.5, -1, "last"):
        with pytest.raises(UserError, match=f"--checkpoint={wrong} is not allowed: it must be the step"):
            gan_jax.load("run", wrong)
