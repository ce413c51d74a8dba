"""Differentiable augmentation: against plain NumPy, and what a step makes of it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from begin import begin, by_the_gradient

import gan_jax
from gan_jax import devices, step
from gan_jax.augmentations import AUGMENTATIONS, Augmentation, augmented
from gan_jax.config import PRESETS, Config
from gan_jax.devices import AXIS
from gan_jax.errors import UserError
from gan_jax.objectives import OBJECTIVES
from gan_jax.optimizers import OPTIMIZERS
from gan_jax.state import to_arrays

Small = Callable[..., Config]

IMAGES = np.random.default_rng(0).integers(0, 256, (96, 8, 8, 1), np.uint8)
POLICY = ("translation", "cutout")


# ---- the transforms, by NumPy, as the paper's own code has them ----


def translation(uniform: np.ndarray, image: np.ndarray) -> np.ndarray:
    out = np.full_like(image, -1)
    most = [int(size / 8 + 0.5) for size in image.shape[:2]]
    down, right = (int(u * (2 * m + 1)) - m for u, m in zip(uniform, most, strict=True))
    for i, j in np.ndindex(image.shape[:2]):
        if 0 <= i + down < image.shape[0] and 0 <= j + right < image.shape[1]:
            out[i, j] = image[i + down, j + right]
    return out


def cutout(uniform: np.ndarray, image: np.ndarray) -> np.ndarray:
    out, cut = image.copy(), []
    for u, size in zip(uniform, image.shape[:2], strict=True):
        hole = int(size * 0.5 + 0.5)
        centre = int(u * (size + 1 - hole % 2))
        cut.append(np.clip(np.arange(hole) + centre - hole // 2, 0, size - 1))
    out[np.ix_(*cut)] = -1
    return out


def color(uniform: np.ndarray, image: np.ndarray) -> np.ndarray:
    x = image + (uniform[0] - 0.5)
    x = (x - x.mean(-1, keepdims=True)) * (2 * uniform[1]) + x.mean(-1, keepdims=True)
    return (x - x.mean()) * (uniform[2] + 0.5) + x.mean()


@pytest.mark.parametrize("shape", [(8, 8, 3), (28, 12, 3), (5, 7, 3)])
@pytest.mark.parametrize("plain", [translation, cutout, color])
def test_a_transform_is_the_papers(plain: Callable[..., np.ndarray], shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(1)
    images = random.uniform(-1, 1, (64, *shape)).astype(np.float32)
    found = AUGMENTATIONS[plain.__name__]
    uniform = random.uniform(0, 1, (64, found.draws)).astype(np.float32)
    uniform[:4] = [[0], [0.5], [0.25], [np.nextafter(np.float32(1), np.float32(0))]]
    expected = np.stack([plain(u, image) for u, image in zip(uniform, images, strict=True)])
    np.testing.assert_allclose(jax.jit(found.apply)(uniform, images), expected, atol=1e-5)


def test_translation_reaches_every_offset_and_cutout_every_pixel() -> None:
    images = np.tile(np.arange(1, 29, dtype=np.float32)[:, None, None], (1000, 1, 28, 1))
    key = jax.random.key(0)
    (moved,) = augmented([("", AUGMENTATIONS["translation"])], key, None, jnp.asarray(images))
    middles, counts = np.unique(np.asarray(moved)[:, 14, 14, 0], return_counts=True)
    np.testing.assert_array_equal(
        middles, 15 + np.arange(-4, 5)
    )  # an eighth of 28 is 3.5, rounded up as there
    assert counts.min() > 1000 / 9 / 2
    (cut,) = augmented([("", AUGMENTATIONS["cutout"])], key, None, jnp.asarray(images))
    gone = (np.asarray(cut)[..., 0] == -1).mean(0)
    # A hole of 14 at 29 places: the middle is in 14 of them along each axis, a corner in 8.
    np.testing.assert_allclose([gone[14, 14], gone[0, 0]], [(14 / 29) ** 2, (8 / 29) ** 2], atol=0.05)


def test_images_of_the_same_place_are_transformed_alike_and_others_not() -> None:
    same = jnp.tile(jnp.asarray(IMAGES[:1], jnp.float32), (16, 1, 1, 1))
    policy = [(name, AUGMENTATIONS[name]) for name in POLICY]
    real, fake = augmented(policy, jax.random.key(0), None, same, same)
    np.testing.assert_array_equal(real, fake)
    assert len(np.unique(np.asarray(real), axis=0)) > 10
    (other,) = augmented(policy, jax.random.key(1), None, same)
    assert (np.asarray(other) != np.asarray(real)).any()


def test_the_gradient_comes_back_from_where_a_pixel_went() -> None:
    uniform, weights = jnp.asarray([[0.0, 0.0]]), jnp.arange(64.0).reshape(1, 8, 8, 1)
    moved = lambda x: jnp.sum(weights * AUGMENTATIONS["translation"].apply(uniform, x))
    found = np.asarray(jax.grad(moved)(jnp.zeros((1, 8, 8, 1))))[0, ..., 0]
    np.testing.assert_array_equal(found[:-1, :-1], np.asarray(weights)[0, 1:, 1:, 0])  # one up, one left
    assert (found[-1] == 0).all()  # what has left the image
    assert (found[:, -1] == 0).all()


# ---- a step ----


def test_both_nets_and_the_penalties_see_transformed_images_and_g_its_gradient(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A transform without luck, so that the step can be taken by hand.
    monkeypatch.setitem(
        AUGMENTATIONS, "flipped", Augmentation(0, lambda uniform, images: 0.5 * images[:, ::-1])
    )
    seen = lambda images: 0.5 * images[:, ::-1]
    config = small(loss="relativistic", augment="flipped", penalty=("r1", "r2"), penalty_weight=0.3)
    parts, gan = begin(config, (8, 8, 1))
    real = jax.random.uniform(jax.random.key(5), (16, 8, 8, 1), minval=-1)
    z = jax.random.normal(jax.random.key(6), (16, 8))
    new, metrics = jax.jit(step.make_update(parts))(gan, real[None], z[None], jax.random.key(0))
    fakes = lambda params: seen(parts.generator.apply({"params": params}, z))
    judge = lambda params, images: parts.discriminator.apply({"params": params}, images)

    def squared_norm(params, images):
        alone = jax.vmap(jax.grad(lambda image: judge(params, image[None])[0]))(images)
        return (alone**2).sum((1, 2, 3)).mean()

    def d_loss(params):
        fake = fakes(gan.g_params)
        penalty = 0.5 * (squared_norm(params, seen(real)) + squared_norm(params, fake))
        logits = judge(params, seen(real)), judge(params, fake)
        return OBJECTIVES["relativistic"].d_loss(*logits) + 0.3 * penalty

    def g_loss(params):
        logits = judge(new.d_params, seen(real)), judge(new.d_params, fakes(params))
        return OBJECTIVES["relativistic"].g_loss(*logits)

    # With β₁ = 0 Adam's first moment after one step is the gradient.
    for opt, loss, params in ((new.d_opt, d_loss, gan.d_params), (new.g_opt, g_loss, gan.g_params)):
        jax.tree.map(
            lambda m, g: np.testing.assert_allclose(m, g, rtol=1e-3, atol=1e-6),
            opt[0].mu,
            jax.jit(jax.grad(loss))(params),
        )
    np.testing.assert_allclose(metrics["g_loss"], g_loss(gan.g_params), rtol=1e-5)


def test_one_and_eight_devices_draw_the_same(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    # With SGD: Adam divides by the gradient's size and would hide a wrong average.
    monkeypatch.setitem(OPTIMIZERS, "sgd", by_the_gradient)
    config = small(
        augment=POLICY, penalty=("gp", "r2"), penalty_weight=0.1, optimizer="sgd", loss="relativistic",
        g_learning_rate=0.05, d_learning_rate=0.05,
    )  # fmt: skip
    ends = []
    for count in (1, 8):
        parts, gan = begin(config, (8, 8, 1), len(IMAGES), AXIS)
        some = jax.devices()[:count]
        data = devices.replicate((gan, (jnp.asarray(IMAGES), None)), some)
        ends.append(to_arrays(devices.chunk(parts, 5, some)(*data, 0, 5)[0]))
    for name, array in ends[0].items():
        np.testing.assert_allclose(array, ends[1][name], rtol=1e-4, atol=2e-5, err_msg=name)


def test_a_run_goes_on_to_the_same_bits(small: Small) -> None:
    config = small(augment=POLICY, steps=4, log_every=2)
    begun, whole = gan_jax.fit(config, IMAGES)
    [again] = gan_jax.fit(config, IMAGES, start=begun)
    plain = list(gan_jax.fit(small(steps=4, log_every=2), IMAGES))[-1]
    arrays, differing = to_arrays(whole.state), to_arrays(plain.state)
    for name, array in to_arrays(again.state).items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)
    assert any((array != differing[name]).any() for name, array in arrays.items())


def test_no_system_augments_unasked_and_what_cannot_be_is_refused(small: Small) -> None:
    assert all(config.augment == () for config in (Config(), *PRESETS.values()))
    assert Config(augment="translation,cutout").augment == POLICY
    with pytest.raises(
        UserError, match=r"^--augment=color: it is for images of 3 channels, and these have 1\.$"
    ):
        begin(small(augment=("color",)))
    with pytest.raises(UserError, match=r"^--augment is for images, and the examples are points"):
        gan_jax.fit(small(augment=POLICY, model="toy"), np.zeros((40, 2), np.float32))
