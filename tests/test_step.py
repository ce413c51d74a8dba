"""The step: true epochs, sharing of the generator's forward, device counts, and one compilation."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from begin import begin, by_the_gradient

from gan_jax import devices, state, step
from gan_jax.config import Config
from gan_jax.devices import AXIS
from gan_jax.draws import draw_z, next_batches
from gan_jax.errors import UserError
from gan_jax.objectives import OBJECTIVES
from gan_jax.optimizers import OPTIMIZERS
from gan_jax.penalties import PENALTIES

Small = Callable[..., Config]


@pytest.fixture(scope="module")
def images() -> jax.Array:
    return jax.random.randint(jax.random.key(1), (100, 28, 28, 1), 0, 256).astype(jnp.uint8)


def run(config: Config, images: jax.Array, steps: int, count: int = 1, length: int = 7):
    """The state after `steps` steps in chunks of `length`, and each step's metrics."""
    assert len(jax.devices()) >= count
    some = jax.devices()[:count]
    labels = jnp.arange(len(images)) % 10
    parts, gan = begin(config, images.shape[1:], len(images), AXIS)
    chunk = devices.chunk(parts, length, some)
    gan, data = devices.replicate((gan, (images, labels if config.conditional else None)), some)
    rows = []
    for done in range(0, steps, length):
        stop = min(steps, done + length)
        gan, metrics = chunk(gan, data, done, stop)
        rows.append({k: np.asarray(v)[: stop - done] for k, v in metrics.items()})
    return gan, {k: np.concatenate([row[k] for row in rows]) for k in rows[0]}


def leaves(gan: state.GanState) -> list[np.ndarray]:
    return [np.asarray(x) for x in jax.tree.leaves(gan.replace(key=jax.random.key_data(gan.key)))]


@pytest.mark.parametrize("length", [1, 5, 42])
def test_every_epoch_shows_every_image_once_in_a_new_order(small: Small, length: int) -> None:
    config = small(batch_size=7, d_steps=3)  # 100 = 14·7 + 2: epochs end within chunks and within steps
    order, seen = jnp.zeros(100, jnp.int32), []
    parts, _ = begin(config)
    draw = jax.jit(lambda *args: next_batches(parts, jax.random.key(3), *args, length))
    for batch in range(0, 3 * 14, length):
        stop = min(batch + length, 3 * 14)
        order, index = draw(order, jnp.int32(batch), jnp.int32(stop))
        seen += list(np.asarray(index)[: stop - batch])
    epochs = [np.concatenate(seen[i : i + 14]) for i in (0, 14, 28)]
    for epoch in epochs:
        assert len(np.unique(epoch)) == 98  # 14 full batches, no image twice
    assert (epochs[0] != epochs[1]).any()
    assert (epochs[1] != epochs[2]).any()
    assert len(np.unique(np.concatenate(epochs))) == 100  # what is dropped changes from epoch to epoch
    # The order that is kept is that of the last batch drawn, and not of one that only the length has room for.
    np.testing.assert_array_equal(order[:98], epochs[2])


@pytest.mark.parametrize("z_distribution", ["normal", "uniform"])
def test_noise_has_the_moments_of_its_distribution(small: Small, z_distribution: str) -> None:
    parts, _ = begin(small(z_distribution=z_distribution, z_dim=100))
    z = np.asarray(draw_z(parts, jax.random.key(0), (500,)))
    variance = {"normal": 1.0, "uniform": 1 / 3}[z_distribution]
    assert abs(z.mean()) < 0.02
    assert abs(z.var() - variance) < 0.02
    assert (np.abs(z).max() < 1) == (z_distribution == "uniform")


@pytest.mark.parametrize("loss", OBJECTIVES)
def test_shared_forward_gives_the_gradients_of_two_separate_ones(small: Small, loss: str) -> None:
    # The textbook's way: D's step on stop_gradient(G(z)), then G's gradient through a new forward.
    config = small(loss=loss)
    parts, gan = begin(config)
    real = jax.random.uniform(jax.random.key(5), (16, 28, 28, 1), minval=-1)
    z = jax.random.normal(jax.random.key(6), (16, 8))
    new, metrics = step.make_update(parts)(gan, real[None], z[None], jax.random.key(0))

    g, d = parts.generator.apply, parts.discriminator.apply

    def d_loss(params):
        return OBJECTIVES[loss].d_loss(
            d({"params": params}, real), d({"params": params}, g({"params": gan.g_params}, z))
        )

    def g_loss(params):
        return OBJECTIVES[loss].g_loss(
            d({"params": new.d_params}, real), d({"params": new.d_params}, g({"params": params}, z))
        )

    # With β₁ = 0 Adam's first moment after one step is the gradient.
    for opt, gradients in (
        (new.d_opt, jax.grad(d_loss)(gan.d_params)),
        (new.g_opt, jax.grad(g_loss)(gan.g_params)),
    ):
        mu = opt[0].mu
        jax.tree.map(lambda m, g: np.testing.assert_allclose(m, g, rtol=1e-3, atol=1e-7), mu, gradients)
    np.testing.assert_allclose(metrics["d_loss"], d_loss(gan.d_params), rtol=1e-5)
    np.testing.assert_allclose(metrics["g_loss"], g_loss(gan.g_params), rtol=1e-5)


def test_rmsprop_is_pytorchs() -> None:
    # torch.optim.RMSprop(lr=0.01, alpha=0.99) on the gradients 1, 2, −1 from 0, computed by its formula.
    optimizer = OPTIMIZERS["rmsprop"](jnp.float32(0.01), jnp.float32(0.5), jnp.float32(0.99))
    p, v, x = {"w": jnp.zeros(())}, 0.0, 0.0
    opt = optimizer.init(p)
    for gradient in (1.0, 2.0, -1.0):
        updates, opt = optimizer.update({"w": jnp.asarray(gradient)}, opt, p)
        p = optax.apply_updates(p, updates)
        v = 0.99 * v + 0.01 * gradient**2
        x -= 0.01 * gradient / (v**0.5 + 1e-8)
        np.testing.assert_allclose(p["w"], x, rtol=1e-6)


def test_clipping_bounds_every_parameter_of_d(small: Small, images: jax.Array) -> None:
    gan, _ = run(small(loss="wasserstein", clip=0.01, d_steps=2), images, 3)
    for p in jax.tree.leaves(gan.d_params):
        assert np.abs(p).max() <= np.float32(0.01)
    assert max(np.abs(p).max() for p in jax.tree.leaves(gan.g_params)) > 0.1  # G's are left alone


def test_d_steps_update_d_that_often_and_g_once(small: Small, images: jax.Array) -> None:
    gan, _ = run(small(d_steps=3), images, 4)
    assert int(gan.d_opt[0].count) == 12
    assert int(gan.g_opt[0].count) == 4
    assert int(gan.step) == 4


def test_ema_follows_the_generator(small: Small, images: jax.Array) -> None:
    config = small(ema=0.5)
    gan, _ = run(config, images, 1)
    _, first = begin(config)
    # Decay (1 + 0) / (10 + 0) at the first step.
    expected = jax.tree.map(lambda old, new: 0.1 * old + 0.9 * new, first.g_params, gan.g_params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), gan.g_ema, {"params": expected})
    without, _ = run(small(), images, 1)
    jax.tree.map(np.testing.assert_array_equal, gan.g_params, without.g_params)


# With SGD: Adam and RMSProp divide by the gradient's size and would hide a wrong average.
@pytest.mark.parametrize(
    ("counts", "steps", "tolerance", "fields"),
    [
        ((2, 8), 20, 2e-5, {"penalty": tuple(PENALTIES), "penalty_weight": 0.1, "penalty_every": 2}),
        # BatchNorm over each device's two images, not all 16, would be off by hundredths. One step: in later ones
        # a unit's sign that rounding decides can show.
        ((8,), 1, 1e-4, {"model": "conv_small", "conditional": True, "spectral_norm": True}),
    ],
    ids=["mlp", "conv"],
)
def test_one_two_and_eight_devices_agree(
    small: Small,
    images: jax.Array,
    monkeypatch: pytest.MonkeyPatch,
    counts: tuple[int, ...],
    steps: int,
    tolerance: float,
    fields: dict[str, Any],
) -> None:
    monkeypatch.setitem(OPTIMIZERS, "sgd", by_the_gradient)
    config = small(
        loss="cross_entropy",
        optimizer="sgd",
        d_steps=2,
        g_learning_rate=0.05,
        d_learning_rate=0.05,
        ema=0.9,
        **fields,
    )
    one, one_metrics = run(config, images, steps, count=1)
    for count in counts:
        many, metrics = run(config, images, steps, count=count)
        for a, b in zip(leaves(one), leaves(many), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=tolerance)
        for name, values in one_metrics.items():
            np.testing.assert_allclose(values, metrics[name], rtol=1e-4, atol=tolerance, err_msg=name)
    # Against how far each array has moved: wrong by a factor, a small gradient would pass above.
    _, start = begin(config)
    params = lambda gan: [np.asarray(x) for x in jax.tree.leaves((gan.g_params, gan.d_params))]
    for a, b, old in zip(*map(params, (one, many, start)), strict=True):
        moved = np.abs(a - old).max()
        assert moved > 0
        assert np.abs(a - b).max() <= 0.05 * moved + 3e-7


@pytest.mark.parametrize("known_length", [False, True], ids=["as on a CPU", "as on an accelerator"])
def test_chunk_length_changes_no_bit(
    small: Small, images: jax.Array, known_length: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(ema=0.9)
    # Of one way: the two are two programs, which the compiler's optimizations may round differently.
    monkeypatch.setattr(devices, "needs_known_length", lambda device: known_length)
    first, metrics = run(config, images, 12, length=12)
    second, other = run(config, images, 12, length=5)
    for a, b in zip(leaves(first), leaves(second), strict=True):
        np.testing.assert_array_equal(a, b)
    for name in metrics:
        np.testing.assert_array_equal(metrics[name], other[name])


@pytest.mark.parametrize("count", [1, 8])
def test_a_run_traces_and_compiles_its_step_once(
    small: Small, images: jax.Array, count: int, request: pytest.FixtureRequest
) -> None:
    traced, compiled = [], []
    original = step.make_update

    def counting(*args):
        update = original(*args)
        return lambda *a: traced.append(1) or update(*a)

    def listener(event: str, seconds: float, **_: Any) -> None:
        if "backend_compile" in event:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listener)
    request.addfinalizer(lambda: jax.monitoring.unregister_event_duration_listener(listener))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "make_update", counting)
        assert len(jax.devices()) >= count
        some = jax.devices()[:count]
        parts, gan = begin(small(z_dim=7), images.shape[1:], len(images), AXIS)  # of no other test
        chunk = devices.chunk(parts, 5, some)
        gan, data = devices.replicate((gan, (images, None)), some)
        gan, _ = jax.block_until_ready(chunk(gan, data, 0, 5))
        assert compiled  # else the event has another name, and what follows could not fail
        compiled.clear()
        for begin_, stop in ((5, 10), (10, 15), (15, 17)):  # the last one is short
            gan, _ = jax.block_until_ready(chunk(gan, data, begin_, stop))
    assert not compiled
    assert len(traced) == 1


def test_a_state_that_lies_elsewhere_is_taken_without_a_warning_and_kept(
    small: Small, images: jax.Array
) -> None:
    # A donated argument that must be moved first warns in `pmap`, and warnings are errors here. So nothing is donated.
    config = small(ema=0.9)
    some = jax.devices()[:2]
    parts, gan = begin(config, images.shape[1:], len(images), AXIS)
    data = jax.device_put((images, None), jax.devices()[3])
    chunk = devices.chunk(parts, 7, some)
    before = leaves(gan)
    for elsewhere in (gan, jax.device_put(gan, jax.devices()[3]), devices.replicate(gan, jax.devices())):
        new, _ = jax.block_until_ready(chunk(elsewhere, data, 0, 7))
        assert int(new.step) == 7
        for a, b in zip(leaves(elsewhere), before, strict=True):  # a donated one would have been deleted
            np.testing.assert_array_equal(a, b)


def test_seeds_differ_and_repeat(small: Small, images: jax.Array) -> None:
    first, _ = run(small(seed=1), images, 3)
    again, _ = run(small(seed=1), images, 3)
    other, _ = run(small(seed=2), images, 3)
    for a, b in zip(leaves(first), leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(leaves(first), leaves(other), strict=True))


def test_batch_that_does_not_divide_names_both_numbers(small: Small, images: jax.Array) -> None:
    with pytest.raises(UserError, match=r"batch_size=12 .* 8 devices"):
        devices.check_divides(begin(small(batch_size=12))[0], jax.devices())
