"""The nets: their sizes, BatchNorm's two modes, conditional GANs, bfloat16."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from begin import begin

from gan_jax import generate, step
from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.models import MODELS, Networks, Spec

Small = Callable[..., Config]

SHAPE = (28, 28, 1)
# Weights and biases counted by hand from the papers' tables, for 100 noise values; G's include BatchNorm's scale
# and bias, and no other bias before it.
CONV_G = 100 * 1024 + 2 * 1024 + 1024 * 6272 + 2 * 6272 + 16 * 128 * 64 + 2 * 64 + 16 * 64 + 1
CONV_D = 16 * 64 + 64 + 16 * 64 * 128 + 128 + 6272 * 1024 + 1024 + 1024 + 1
SMALL_G = 100 * 256 + 2 * 256 + 256 * 1568 + 2 * 1568 + 16 * 32 * 16 + 2 * 16 + 16 * 16 + 1
SMALL_D = 16 * 16 + 16 + 16 * 16 * 32 + 32 + 1568 * 256 + 256 + 256 + 1
MLP_G, MLP_D = 100 * 256 + 256 + 256 * 784 + 784, 784 * 256 + 256 + 256 + 1


def init(nets: Networks, labels: jax.Array | None = None, z_dim: int = 100):
    g = jax.jit(lambda: nets.generator.init(jax.random.key(0), jnp.zeros((1, z_dim)), labels))()
    d = jax.jit(lambda: nets.discriminator.init(jax.random.key(1), jnp.zeros((1, *SHAPE)), labels))()
    return g, d


def size(params) -> int:
    return sum(x.size for x in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("name", "g_size", "d_size"),
    [("mlp", MLP_G, MLP_D), ("conv", CONV_G, CONV_D), ("conv_small", SMALL_G, SMALL_D)],
)
def test_sizes(name: str, g_size: int, d_size: int) -> None:
    nets = MODELS[name](Spec(SHAPE))
    g, d = jax.eval_shape(lambda: init(nets))
    assert size(g["params"]) == g_size
    assert size(d["params"]) == d_size
    images = jax.eval_shape(nets.generator.apply, g, jnp.zeros((3, 100)))
    assert (images.shape, images.dtype) == ((3, *SHAPE), jnp.float32)
    logits = jax.eval_shape(nets.discriminator.apply, d, images)
    assert (logits.shape, logits.dtype) == ((3,), jnp.float32)


@pytest.mark.parametrize("name", ["conv", "conv_small"])
def test_sizes_that_four_does_not_divide_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="multiples of 4"):
        MODELS[name](Spec((28, 30, 1)))


@pytest.mark.parametrize("shape", [(32, 32, 3), (4, 8, 1)])
def test_other_image_shapes(shape: tuple[int, int, int]) -> None:
    nets = MODELS["conv_small"](Spec(shape))
    g = jax.eval_shape(lambda: nets.generator.init(jax.random.key(0), jnp.zeros((1, 5))))
    assert jax.eval_shape(nets.generator.apply, g, jnp.zeros((2, 5))).shape == (2, *shape)


@pytest.mark.parametrize("name", ["conv", "conv_small"])
def test_the_discriminator_starts_with_logits_that_tell_images_apart(name: str) -> None:
    # He 2015, eq. 10: every layer keeps the size of what passes through it, at any width.
    discriminator = MODELS[name](Spec(SHAPE)).discriminator
    images = jax.random.uniform(jax.random.key(2), (16, *SHAPE), minval=-1.0, maxval=1.0)
    apply = lambda key: discriminator.apply(discriminator.init(key, images), images)
    logits = jax.jit(jax.vmap(apply))(jax.random.split(jax.random.key(1), 4))
    assert 0.3 < np.sqrt(np.square(logits).mean()) / np.sqrt(np.square(images).mean()) < 3.0


def test_a_sample_does_not_depend_on_the_others_drawn_with_it() -> None:
    # BatchNorm must use its running averages outside of training.
    nets = MODELS["conv_small"](Spec(SHAPE))
    variables, _ = init(nets)
    z = jax.random.normal(jax.random.key(2), (16, 100))
    apply = jax.jit(lambda z: nets.generator.apply(variables, z))
    np.testing.assert_allclose(apply(z)[:1], apply(z.at[1:].set(5.0))[:1], atol=1e-6)
    trained = jax.jit(lambda z: nets.generator.apply(variables, z, train=True, mutable=["batch_stats"])[0])
    assert np.abs(trained(z)[:1] - trained(z.at[1:].set(5.0))[:1]).max() > 1e-3


def test_running_averages_reach_the_batchs_own_moments() -> None:
    nets = MODELS["conv_small"](Spec(SHAPE))
    variables, _ = init(nets)
    z = jax.random.normal(jax.random.key(2), (16, 100))
    train = jax.jit(lambda v: nets.generator.apply(v, z, train=True, mutable=["batch_stats"]))
    for _ in range(200):
        images, stats = train(variables)
        variables = {**variables, **stats}
    np.testing.assert_allclose(nets.generator.apply(variables, z), images, atol=1e-4)


def test_averaged_weights_come_with_averaged_statistics(small: Small) -> None:
    config = small(model="conv_small", ema=0.5)
    parts, gan = begin(config)
    real = jax.random.uniform(jax.random.key(5), (1, 16, *SHAPE), minval=-1)
    z = jax.random.normal(jax.random.key(6), (1, 16, 8))
    new, _ = jax.jit(step.make_update(parts))(gan, real, z, jax.random.key(0))
    mean = lambda g: g["batch_stats"]["BatchNorm_1"]["mean"]
    np.testing.assert_allclose(mean(new.sampling_variables), 0.9 * mean(new.g_stats), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["mlp", "conv_small"])
def test_labels_change_images_and_logits(name: str) -> None:
    nets = MODELS[name](Spec(SHAPE, num_classes=10, spectral_norm=True))
    g, d = init(nets, jnp.zeros(1, jnp.int32))
    # At the start all classes have the same gain and bias in BatchNorm.
    random = np.random.default_rng(0)
    g["params"] = jax.tree.map(lambda p: p + random.normal(0, 0.1, p.shape).astype(np.float32), g["params"])
    z, labels = jnp.ones((10, 100)), jnp.arange(10)
    images = nets.generator.apply(g, z, labels)
    logits = nets.discriminator.apply(d, images[:1].repeat(10, 0), labels)
    assert len(np.unique(np.asarray(images).reshape(10, -1), axis=0)) == 10
    assert len(np.unique(logits)) == 10


def test_the_projection_is_the_inner_product_with_the_classs_embedding() -> None:
    # Miyato & Koyama 2018, eq. 5: logits(x, y) − logits(x, y′) = ⟨V_y − V_y′, φ(x)⟩, the same φ for all classes.
    nets = MODELS["mlp"](Spec(SHAPE, num_classes=3))
    _, d = init(nets, jnp.zeros(1, jnp.int32))
    x = jax.random.normal(jax.random.key(3), (400, *SHAPE))
    logits = [nets.discriminator.apply(d, x, jnp.full(400, y)) for y in range(3)]
    hidden = d["params"]["Dense_0"]
    features = jax.nn.leaky_relu(x.reshape(400, -1) @ hidden["kernel"] + hidden["bias"][None], 0.2)
    embedding = d["params"]["projection"]["kernel"]
    expected = features @ (embedding[:, 1] - embedding[:, 2])
    np.testing.assert_allclose(logits[1] - logits[2], expected, atol=1e-4)


@pytest.mark.parametrize("d_steps", [1, 2])
def test_fakes_take_the_classes_of_the_reals_beside_them(small: Small, d_steps: int) -> None:
    # So every class is as frequent among the generated images as among the real ones, in every batch.
    config = small(conditional=True, d_steps=d_steps, loss="wasserstein", d_learning_rate=1e-30)
    parts, gan = begin(config)
    real = jax.random.uniform(jax.random.key(5), (d_steps, 16, *SHAPE), minval=-1)
    z = jax.random.normal(jax.random.key(6), (d_steps, 16, 8))
    labels = jax.random.randint(jax.random.key(7), (d_steps, 16), 0, 10)
    _, metrics = jax.jit(step.make_update(parts))(gan, real, z, jax.random.key(0), labels)
    judge = lambda images, y: parts.discriminator.apply({"params": gan.d_params}, images, y).mean()
    generated = lambda y: parts.generator.apply({"params": gan.g_params}, z[-1], y)
    fake = judge(generated(labels[-1]), labels[-1])
    np.testing.assert_allclose(metrics["d_loss"], fake - judge(real[-1], labels[-1]), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(metrics["g_loss"], -fake, rtol=1e-4, atol=1e-6)
    other = jnp.roll(labels[-1], 1)
    assert abs(judge(generated(other), labels[-1]) - fake) > 1e-4


def test_a_conditional_net_without_labels_says_so(small: Small) -> None:
    config = small(conditional=True)
    parts, gan = begin(config)
    update = step.make_update(parts)
    with pytest.raises(ValueError, match="a conditional net needs labels"):
        update(gan, jnp.zeros((1, 16, *SHAPE)), jnp.zeros((1, 16, 8)), jax.random.key(0))


def test_batch_statistics_move_once_with_each_forward_pass_of_g(small: Small) -> None:
    # Of the same noise and unmoved weights: 1 − 0.9ⁿ of the batch's mean after n D updates, G's own adding none.
    means = {}
    for d_steps in (1, 3):
        config = small(model="conv_small", d_steps=d_steps)
        parts, gan = begin(config)
        z = jnp.broadcast_to(jax.random.normal(jax.random.key(6), (16, 8)), (d_steps, 16, 8))
        real = jnp.zeros((d_steps, 16, *SHAPE))
        new, _ = jax.jit(step.make_update(parts))(gan, real, z, jax.random.key(0))
        means[d_steps] = new.g_stats["batch_stats"]["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(means[3], means[1] * (1 - 0.9**3) / 0.1, rtol=1e-4, atol=1e-7)


def test_labels_to_draw_are_balanced_and_a_grid_has_a_class_per_row(small: Small) -> None:
    config, _ = begin(small(conditional=True))
    plain, _ = begin(small())
    assert generate.grid_size(config) == 80
    for num in (80, 100, 123, 10_000):
        counts = np.bincount(generate.classes(config, num), minlength=10)
        assert counts.max() - counts.min() <= 1
    labels = generate.classes(config, 80)
    rows, columns = generate.arranged(config, np.asarray(labels), labels)  # each "image" its own label
    assert columns == 8
    np.testing.assert_array_equal(rows.reshape(10, 8), np.arange(10)[:, None].repeat(8, 1))
    assert generate.arranged(config, np.zeros(100), generate.classes(config, 100, label=7))[1] is None
    for num in (64, 10_000):  # rows that are not of one length, or too long: in order, and a square
        images, columns = generate.arranged(config, np.arange(num) % 10, generate.classes(config, num))
        assert columns is None
        assert (np.diff(images) >= 0).all()
    np.testing.assert_array_equal(generate.classes(config, 3, label=7), [7, 7, 7])
    assert generate.classes(plain, 3) is None
    assert generate.grid_size(plain) == 64
    with pytest.raises(UserError, match="--label=10 is not allowed: this run's are 0 to 9"):
        generate.classes(config, 3, label=10)
    with pytest.raises(UserError, match="--label needs a conditional run: train with --conditional"):
        generate.classes(plain, 3, label=1)


@pytest.mark.parametrize("model", ["mlp", pytest.param("conv_small", marks=pytest.mark.long)])
def test_bfloat16_computes_in_it_and_keeps_float32(small: Small, model: str) -> None:
    fields = {"model": model, "spectral_norm": True, "conditional": True, "penalty": ("r1",), "ema": 0.9}
    config = small(dtype="bfloat16", **fields)
    parts, gan = begin(config)
    real = jax.random.uniform(jax.random.key(5), (1, 16, *SHAPE), minval=-1)
    z, labels = jax.random.normal(jax.random.key(6), (1, 16, 8)), jnp.arange(16)[None] % 10
    args = gan, real, z, jax.random.key(0), labels
    new, metrics = jax.jit(step.make_update(parts))(*args)
    floats = [
        x for x in jax.tree.leaves((new.replace(key=None), metrics)) if jnp.issubdtype(x.dtype, jnp.floating)
    ]
    assert {x.dtype for x in floats} == {jnp.dtype("float32")}
    assert all(np.isfinite(x).all() for x in floats)
    # Every layer's output is half as wide but those that others than layers read: the statistics' and the logits'.
    for net, params, stats, x, wide in (
        (parts.discriminator, gan.d_params, gan.d_stats, real[0], ("Dense_1", "projection")),
        (parts.generator, gan.g_params, gan.g_stats, z[0], ("label",)),
    ):
        apply = functools.partial(net.apply, capture_intermediates=True)
        _, seen = jax.eval_shape(apply, {"params": params, **stats}, x, labels[0])
        dtypes = {
            name: y["__call__"][0].dtype for name, y in seen["intermediates"].items() if name != "__call__"
        }
        assert dtypes == {name: jnp.dtype("float32" if name in wide else "bfloat16") for name in params}
    exact, _ = jax.jit(step.make_update(begin(small(**fields))[0]))(*args)
    # bfloat16 has 8 bits: nearly the same gradients, which Adam's first moments are.
    half, full = (np.concatenate([np.ravel(m) for m in jax.tree.leaves(x.d_opt[0].mu)]) for x in (new, exact))
    assert half @ full >= 0.98 * np.linalg.norm(half) * np.linalg.norm(full)
    assert (half != full).any()
