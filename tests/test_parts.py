"""What a config means: nets that are deaf to what is asked of them, hyperparameters as arrays, the loss of D."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from begin import begin

import gan_jax
from gan_jax import layers, models, penalties
from gan_jax.augmentations import AUGMENTATIONS, Augmentation
from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.models import MODELS, Networks, Spec
from gan_jax.objectives import OBJECTIVES, Objective
from gan_jax.optimizers import OPTIMIZERS, SCHEDULES
from gan_jax.parts import build, facts_of
from gan_jax.penalties import PENALTIES
from gan_jax.state import from_arrays, hyperparams, init, to_arrays
from gan_jax.step import make_d_loss, make_update
from gan_jax.train_classifier import train_classifier

Small = Callable[..., Config]
SHAPE = (8, 8, 3)


class Generator(nn.Module):
    """Uses the label or not."""

    spec: Spec
    uses_labels: bool = True

    @nn.compact
    def __call__(self, z, labels=None, *, train=False):
        x = models.with_label(self.spec, z, labels) if self.uses_labels else z
        x = nn.Dropout(0.5, deterministic=not train)(nn.relu(nn.Dense(16)(x)))
        return jnp.tanh(nn.Dense(int(np.prod(self.spec.image_shape)))(x)).reshape(-1, *self.spec.image_shape)


class Discriminator(nn.Module):
    """Uses the label and spectral norm, or not."""

    spec: Spec
    uses_labels: bool = True
    uses_norm: bool = True

    @nn.compact
    def __call__(self, images, labels=None, *, train=False):
        norm = self.uses_norm and self.spec.spectral_norm
        classes = self.spec.num_classes if self.uses_labels else None
        spec = dataclasses.replace(self.spec, num_classes=classes, spectral_norm=norm)
        x = layers.Dense(16, spectral_norm=norm)(images.reshape(len(images), -1), update=train)
        x = nn.Dropout(0.5, deterministic=not train)(nn.relu(x))
        return models.judged(spec, layers.Dense(1, spectral_norm=norm), x, labels, train)


class PlainDiscriminator(nn.Module):
    """In the precision of its parameters."""

    @nn.compact
    def __call__(self, images, labels=None, *, train=False):
        return nn.Dense(1)(jnp.tanh(nn.Dense(16)(images.reshape(len(images), -1))))[:, 0]


def own(monkeypatch: pytest.MonkeyPatch, generator: dict[str, Any], discriminator: dict[str, Any]) -> None:
    make = lambda spec: Networks(Generator(spec, **generator), Discriminator(spec, **discriminator))
    monkeypatch.setitem(MODELS, "own", make)


@pytest.mark.parametrize("uses_norm", [True, False])
@pytest.mark.parametrize("deaf", ["generator", "discriminator", None])
def test_a_net_that_takes_no_notice_is_refused(
    monkeypatch: pytest.MonkeyPatch, deaf: str | None, uses_norm: bool
) -> None:
    own(
        monkeypatch,
        {"uses_labels": deaf != "generator"},
        {"uses_labels": deaf != "discriminator", "uses_norm": uses_norm},
    )
    config = Config(model="own", conditional=True, spectral_norm=True)
    if deaf is None and uses_norm:
        assert build(config, SHAPE, 10).num_classes == 10
        return
    name = "Generator" if deaf == "generator" else "Discriminator"
    what = "labels, which --conditional needs" if deaf else "spectral norm"
    with pytest.raises(UserError, match=f"--model=own: {name} takes no notice of {what}"):
        build(config, SHAPE, 10)
    build(Config(model="own", penalty=()), SHAPE, 10)  # nothing is asked of it


@pytest.mark.parametrize("model", ["mlp", "conv_small"])
def test_ours_take_notice(model: str) -> None:
    asking = Config(model=model, conditional=True, spectral_norm=True)
    assert build(asking, (32, 32, 3), 7).num_classes == 7


class Fourier(nn.Module):
    """A net with an array among its fields."""

    spec: Spec
    basis: np.ndarray

    @nn.compact
    def __call__(self, z, labels=None, *, train=False):
        height, width, channels = self.spec.image_shape
        return nn.Dense(height * width * channels)(z @ self.basis).reshape(-1, height, width, channels)


def test_a_net_that_cannot_be_hashed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    nets = lambda spec: Networks(Fourier(spec, np.ones((100, 3))), Discriminator(spec))
    monkeypatch.setitem(MODELS, "own", nets)
    with pytest.raises(
        UserError, match=r"--model=own: Fourier must be hashable, and its basis is not: give tuples"
    ):
        build(Config(model="own", penalty=()), SHAPE, 10)


def test_nets_of_another_shape_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = lambda spec: Networks(
        Generator(dataclasses.replace(spec, image_shape=(4, 4, 1))), Discriminator(spec)
    )
    monkeypatch.setitem(MODELS, "own", wrong)
    with pytest.raises(
        UserError, match=r"Generator must give \[2, 8, 8, 3\] for a batch of 2, and gives \(2, 4, 4, 1\)"
    ):
        build(Config(model="own", penalty=()), SHAPE, None)


def failing(*args: Any) -> Any:
    raise KeyError("mine")


class WithoutLabels(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(x)


GROWING = optax.GradientTransformation(
    lambda params: 0, lambda grads, state, params=None: (grads, (state, state))
)


@pytest.mark.parametrize(
    ("registry", "part", "words"),
    [
        (
            OBJECTIVES,
            (jnp.mean, jnp.mean),
            "it must be a gan_jax.Objective of functions, and is of the type tuple",
        ),
        (OBJECTIVES, Objective(lambda r, f: f.mean(), 3), "it must be a gan_jax.Objective of functions"),  # type: ignore[arg-type]
        (OBJECTIVES, Objective(lambda r, f: f.mean(), lambda r: r.mean()), "TypeError: "),  # type: ignore[arg-type,misc]
        (
            OBJECTIVES,
            Objective(lambda r, f: f.mean(), lambda r, f: f.mean(), lambda r, f: r.mean()),
            "Error: ",
        ),  # type: ignore[arg-type,return-value]
        (
            MODELS,
            lambda spec: 3,
            "it must give gan_jax.Networks of two Flax modules, and gives of the type int",
        ),
        (MODELS, lambda spec: Networks(WithoutLabels(), WithoutLabels()), "TypeError: "),
        (MODELS, failing, "KeyError: 'mine'"),
        (PENALTIES, lambda d_apply, real, fake: 0.0, "TypeError: "),
        (PENALTIES, 3, "it must be a function, and is of the type int"),
        (
            OPTIMIZERS,
            lambda rate, beta1, beta2: None,
            "it must give an optax.GradientTransformation, and gives None",
        ),
        (OPTIMIZERS, lambda rate: optax.sgd(rate), "TypeError: "),
        (OPTIMIZERS, lambda rate, beta1, beta2: GROWING, "its update must give a state of the shapes"),
        (SCHEDULES, failing, "KeyError: 'mine'"),
        (AUGMENTATIONS, failing, "it must be a gan_jax.Augmentation, and is of the type function"),
        (AUGMENTATIONS, Augmentation(1, failing), "KeyError: 'mine'"),
        (AUGMENTATIONS, Augmentation(-1, failing), "draws must be a whole number from 0 on, and is -1"),
        (AUGMENTATIONS, Augmentation(np.int64(-2), failing), "draws must be a whole number from 0 on"),
        (AUGMENTATIONS, Augmentation(1.5, failing), "draws must be a whole number from 0 on, and is 1.5"),
        (
            AUGMENTATIONS,
            Augmentation(0, lambda uniform, images: images[:, 1:]),
            "images of the shape and type",
        ),
        (SCHEDULES, lambda share: jnp.zeros(2), "it must give a scalar for a scalar"),
    ],
)
def test_a_faulty_part_is_one_line_that_names_its_flag(
    registry: dict[str, Any], part: Any, words: str, monkeypatch: pytest.MonkeyPatch, small: Small
) -> None:
    [name] = [
        name
        for name, found in (
            ("loss", OBJECTIVES), ("model", MODELS), ("penalty", PENALTIES), ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES), ("augment", AUGMENTATIONS),
        )
        if found is registry
    ]  # fmt: skip
    monkeypatch.setitem(registry, "faulty", part)
    with pytest.raises(UserError) as error:
        build(small(**{name: "faulty"}), SHAPE, None)
    assert str(error.value).startswith(f"--{name}=faulty: ")
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    if words.endswith("Error: "):
        assert isinstance(error.value.__cause__, Exception)  # the part's own


def test_a_conditional_run_needs_labels() -> None:
    with pytest.raises(UserError, match="a conditional GAN needs labels, and these images have none"):
        build(Config(conditional=True), SHAPE, None)


def test_dropout_drops_in_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    own(monkeypatch, {}, {})
    parts, gan = begin(Config(model="own", batch_size=4, ema=0, penalty="r1", d_learning_rate=1e-30), SHAPE)
    real, z = jnp.zeros((1, 4, *SHAPE)), jnp.ones((1, 4, 100))
    update = jax.jit(make_update(parts))
    losses = {float(update(gan, real, z, jax.random.key(i))[1]["d_loss"]) for i in range(4)}
    assert len(losses) == 4  # the mask is the key's
    penalty = {float(update(gan, real, z, jax.random.key(i))[1]["r1_penalty"]) for i in range(4)}
    assert len(penalty) == 1  # a gradient penalty is of D without it
    images = [parts.generator.apply({"params": gan.g_params}, z[0]) for _ in range(2)]
    np.testing.assert_array_equal(*images)


def test_parts_are_equal_for_equal_programs_and_not_for_a_net_defined_anew(
    monkeypatch: pytest.MonkeyPatch, small: Small
) -> None:
    one, same = (build(small(seed=s, g_learning_rate=rate), SHAPE, 10) for s, rate in ((0, 1e-3), (1, 1e-4)))
    assert one == same
    assert hash(one) == hash(same)
    assert one != build(small(loss="least_squares"), SHAPE, 10)
    assert one != build(small(clip=0.1), SHAPE, 10)
    own(monkeypatch, {}, {})
    before = build(small(model="own"), SHAPE, 10)
    assert before == build(small(model="own"), SHAPE, 10)

    class Again(Generator):
        pass

    Again.__name__ = Again.__qualname__ = "Generator"
    monkeypatch.setitem(MODELS, "own", lambda spec: Networks(Again(spec), Discriminator(spec)))
    assert before != build(small(model="own"), SHAPE, 10)


@pytest.mark.parametrize("loss", OBJECTIVES)
def test_the_loss_of_d_is_the_objectives_and_the_weighted_sum_of_its_penalties(
    loss: str, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The gradient in float64, against objective + Σ weight · penalty written out.
    with jax.enable_x64(True):
        plain = lambda spec: Networks(Generator(spec), PlainDiscriminator())
        monkeypatch.setitem(MODELS, "own", plain)
        config = small(model="own", loss=loss, penalty=tuple(PENALTIES), penalty_weight=0.3)
        parts, gan = begin(config, SHAPE)
        double = lambda tree: jax.tree.map(lambda x: x.astype(jnp.float64), tree)
        params, weights = double(gan.d_params), {"gp": 0.7, "dragan": 1.1, "r1": 0.3, "r2": 2.3}
        gan = gan.replace(hyperparams={f"{name}_weight": jnp.float64(w) for name, w in weights.items()})
        real, fake = jax.random.uniform(jax.random.key(1), (2, 6, *SHAPE), jnp.float64, -1, 1)
        key = jax.random.key(2)

        def by_hand(params):
            d_apply = lambda images: parts.discriminator.apply({"params": params}, images)
            total = OBJECTIVES[loss].d_loss(d_apply(real), d_apply(fake))
            for i, (name, penalty) in enumerate(PENALTIES.items()):
                value = penalties.apply(penalty, d_apply, real, fake, jax.random.fold_in(key, i), None)
                total += weights[name] * value
            return total

        found, _ = jax.grad(make_d_loss(parts), has_aux=True)(params, gan, real, fake, key, None)
        expected = jax.grad(by_hand)(params)
        scale = max(np.abs(x).max() for x in jax.tree.leaves(expected))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12 * scale), found, expected
        )


def test_members_are_made_by_one_program_and_differ_as_their_configs_say(small: Small) -> None:
    # Five seeds and rates through vmap over the arrays, each to the bit what its own config gives.
    configs = [small(seed=s, g_learning_rate=10.0**-s, beta1=0.1 * s, penalty="gp") for s in range(1, 6)]
    parts = build(configs[0], SHAPE, 10)
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *[hyperparams(c, 10) for c in configs])
    seeds = jnp.asarray([c.seed for c in configs], jnp.uint32)
    members = jax.vmap(lambda h, s: init(parts, h, s, 100))(stacked, seeds)
    for i, config in enumerate(configs):
        alone = to_arrays(init(parts, hyperparams(config, 10), config.seed, 100))
        member = to_arrays(jax.tree.map(lambda x, i=i: x[i], members))
        for name, array in alone.items():
            np.testing.assert_array_equal(array, member[name], err_msg=name)


def test_a_large_seed_is_the_same_as_an_array_and_as_a_number(small: Small) -> None:
    parts, _ = begin(small(), SHAPE)
    numbers = hyperparams(small(), 10)
    for seed in (0, 2**31, 2**32 - 1):
        one = init(parts, numbers, seed, 10)
        assert (
            jax.random.key_data(one.key) == jax.random.key_data(jax.random.split(jax.random.key(seed), 3)[0])
        ).all()


def test_a_state_goes_to_arrays_and_back_and_refuses_others(small: Small) -> None:
    _, gan = begin(small(), SHAPE)
    arrays = to_arrays(gan)
    again = to_arrays(from_arrays(gan, arrays))
    assert arrays.keys() == again.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, again[name])
    _, other = begin(small(z_dim=9), SHAPE)
    with pytest.raises(
        UserError, match=r"its .*kernel.* is float32 \[8, 256\], and this config's float32 \[9, 256\]"
    ):
        from_arrays(other, arrays)
    del arrays[".step"]
    with pytest.raises(UserError, match=r"it has no \.step: another config or version wrote it"):
        from_arrays(gan, arrays)


def test_facts_of_images_and_labels() -> None:
    images = np.zeros((4, 8, 9, 1), np.uint8)
    facts = facts_of(images, np.array([0, 5, 2, 2], np.int64))
    assert facts[:3] == ((8, 9, 1), 4, 6)
    assert facts.sha256 == facts_of(images, np.array([0, 5, 2, 2], np.uint8)).sha256
    assert facts.sha256 != facts_of(images, np.array([0, 5, 2, 3])).sha256
    assert facts_of(images, None).num_classes is None
    for bad in (images.astype(float), images[..., 0], images[:0]):
        with pytest.raises(UserError, match="images must be uint8"):
            facts_of(bad, None)
    for labels in (np.zeros(3, int), np.zeros(4), np.array([0, 1, 2, -1])):
        with pytest.raises(UserError, match="labels must be whole numbers from 0 on"):
            facts_of(images, labels)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([1, 2, 3, 3], "up to 3 and no image has 0: number the classes 0 to 2"),
        ([0, 255, 0, 255], "up to 255 and no image has 1, 2, 3, …: number the classes 0 to 1"),
        ([3, 20_000_000, 3, 1], "up to 20000000 and no image has 0, 2, 4, …: number the classes"),
        ([2, 2, 2, 2], "up to 2 and no image has 0, 1: number the classes"),
    ],
)
def test_labels_with_gaps_teach_no_classes(
    labels: list[int], words: str, small: Callable[..., Config]
) -> None:
    """A net has as many classes as the highest label says; those without images would be trained in silence."""
    images = np.zeros((4, 8, 8, 1), np.uint8)
    with pytest.raises(UserError, match=words):
        facts_of(images, np.array(labels), conditional=True)
    with pytest.raises(UserError, match=words):
        gan_jax.fit(small(conditional=True, batch_size=2, steps=1), images, np.array(labels))
    with pytest.raises(UserError, match=words):
        train_classifier(images, np.array(labels))
    assert facts_of(images, np.array(labels)).num_images == 4
    # What the message tells to do helps.
    facts_of(images, np.unique(labels, return_inverse=True)[1], conditional=True)
