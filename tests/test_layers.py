"""Layers against Flax's own, spectral norm against exact singular values, BatchNorm over devices."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import convolutions, layers

# Narrow layers, each a single product, and layers of four products, from `NARROW` on.
SIZES = [(28, 28, 1, 5), (14, 6, 3, 4), (2, 2, 2, 1), (8, 4, 7, 3), (6, 4, 17, 18), (4, 8, 16, 16)]
LAYERS = {
    "dense": (layers.Dense, lambda f: nn.Dense(f)),
    "conv": (layers.StridedConv, lambda f: nn.Conv(f, (4, 4), 2)),
    "transpose": (layers.StridedConvTranspose, lambda f: nn.ConvTranspose(f, (4, 4), (2, 2))),
}


@pytest.mark.parametrize(
    ("x64", "tolerance", "height", "width", "channels", "features"),
    [*((True, 1e-12, *size) for size in SIZES), *((False, 1e-5, *size) for size in SIZES[-2:])],
)
@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_flaxs_with_flaxs_parameters(
    name: str, x64: bool, tolerance: float, height: int, width: int, channels: int, features: int
) -> None:
    with jax.enable_x64(x64):
        ours, theirs = LAYERS[name][0](features), LAYERS[name][1](features)
        shape = (3, channels) if name == "dense" else (3, height, width, channels)
        dtype = jnp.float64 if x64 else jnp.float32
        rng = np.random.default_rng(0)  # JAX's own draws are a program for each shape, and so is `init`
        x = rng.normal(size=shape).astype(dtype)
        params, own = (jax.eval_shape(layer.init, jax.random.key(1), x) for layer in (theirs, ours))
        assert jax.tree.map(jnp.shape, own) == jax.tree.map(jnp.shape, params)
        params = jax.tree.map(lambda p: (rng.normal(size=p.shape) / p.size**0.5).astype(dtype), params)
        weights = rng.normal(size=jax.eval_shape(theirs.apply, params, x).shape).astype(dtype)

        def outputs(layer: nn.Module) -> tuple[jax.Array, ...]:
            # The output, all first gradients, and one of second order, which the penalties take.
            loss = lambda p, x: jnp.sum(jnp.sin(layer.apply(p, x)) * weights)
            first = jax.grad(loss, (0, 1))
            second = jax.grad(lambda p: jnp.sum(first(p, x)[1] ** 2))(params)
            return layer.apply(params, x), first(params, x), second

        for a, b in zip(
            *(jax.tree.leaves(jax.jit(outputs, static_argnums=0)(n)) for n in (ours, theirs)), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max())


@pytest.mark.parametrize(("height", "width", "channels", "features"), SIZES)
@pytest.mark.parametrize("name", ["conv", "conv_transpose"])
def test_stock_convolutions_are_the_same_as_matrix_products(
    name: str, height: int, width: int, channels: int, features: int
) -> None:
    # An accelerator's way and a CPU's, with the gradients of first and second order.
    ways = [getattr(convolutions, f"stock_{name}"), getattr(convolutions, f"{name}_as_products")]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, height, width, channels)).astype(np.float32)
    kernel = rng.normal(scale=(16 * channels) ** -0.5, size=(4, 4, channels, features)).astype(np.float32)

    def outputs(way):
        loss = lambda x, kernel: jnp.sum(jnp.sin(way(x, kernel)))
        first = jax.grad(loss, (0, 1))
        return way(x, kernel), first(x, kernel), jax.grad(lambda k: jnp.sum(first(x, k)[0] ** 2))(kernel)

    for a, b in zip(*(jax.tree.leaves(jax.jit(outputs, static_argnums=0)(way)) for way in ways), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())


def test_odd_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="even height and width; got 7 × 8"):
        layers.strided_conv(jnp.zeros((1, 7, 8, 1)), jnp.zeros((4, 4, 1, 1)))


@pytest.mark.parametrize(("channels", "features"), [(5, 6), (17, 18)])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(("x64", "tolerance"), [(False, 1e-5), (True, 1e-10)])
def test_spectral_norm_divides_by_the_largest_singular_value(
    name: str, channels: int, features: int, x64: bool, tolerance: float
) -> None:
    with jax.enable_x64(x64):
        layer = LAYERS[name][0](features, use_bias=False, spectral_norm=True)
        plain = LAYERS[name][0](features, use_bias=False)
        shape = (2, channels) if name == "dense" else (2, 4, 4, channels)
        x = jax.random.normal(jax.random.key(0), shape)
        # Known singular values, 3 and less than 2: the power iteration is then as exact as its arithmetic.
        matrix = np.random.default_rng(0).normal(
            size=layer.init(jax.random.key(1), x)["params"]["kernel"].shape
        )
        u, s, v = np.linalg.svd(matrix.reshape(-1, features), full_matrices=False)
        kernel = jnp.asarray(((u * np.where(s == s[0], 3.0, s / s[0])) @ v).reshape(matrix.shape))
        variables = {**layer.init(jax.random.key(1), x), "params": {"kernel": kernel}}
        step = jax.jit(lambda v: layer.apply(v, x, update=True, mutable=["spectral"])[1])
        for _ in range(100):
            variables = {**variables, **step(variables)}
        expected = plain.apply({"params": {"kernel": kernel}}, x) / 3.0
        np.testing.assert_allclose(layer.apply(variables, x), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.bfloat16])
def test_inputs_of_other_types_are_promoted_as_flax_does(dtype: jnp.dtype) -> None:
    x = jnp.arange(10).reshape(2, 5).astype(dtype)
    params = nn.Dense(3).init(jax.random.key(0), x)
    ours, theirs = layers.Dense(3).apply(params, x), nn.Dense(3).apply(params, x)
    assert ours.dtype == theirs.dtype == jnp.float32
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_spectral_norm_is_state_that_moves_in_training_alone() -> None:
    layer = layers.Dense(6, spectral_norm=True)
    x = jnp.ones((2, 5))
    variables = layer.init(jax.random.key(1), x)
    _, still = layer.apply(variables, x, mutable=["spectral"])
    _, moved = layer.apply(variables, x, update=True, mutable=["spectral"])
    np.testing.assert_array_equal(still["spectral"]["u"], variables["spectral"]["u"])
    assert (moved["spectral"]["u"] != variables["spectral"]["u"]).any()


def test_spectral_norm_follows_a_kernel_that_changes_slowly() -> None:
    # One step of the power iteration an update, as in training, against the exact value at every step.
    layer = layers.Dense(20, use_bias=False, spectral_norm=True)
    x = jnp.eye(30)
    variables = layer.init(jax.random.key(1), x)
    direction = jax.random.normal(jax.random.key(2), (30, 20))
    for i in range(300):
        kernel = variables["params"]["kernel"] + 3e-4 * direction
        out, state = layer.apply(
            {**variables, "params": {"kernel": kernel}}, x, update=True, mutable=["spectral"]
        )
        variables = {"params": {"kernel": kernel}, **state}
        if i > 50:
            assert np.linalg.norm(np.asarray(out), 2) == pytest.approx(1.0, abs=0.02)


def test_the_gradient_of_spectral_norm_is_that_of_the_exact_quotient() -> None:
    layer = layers.Dense(4, use_bias=False, spectral_norm=True)
    x = jax.random.normal(jax.random.key(0), (3, 5))
    variables = layer.init(jax.random.key(1), x)
    for _ in range(200):
        variables = {**variables, **layer.apply(variables, x, update=True, mutable=["spectral"])[1]}
    weights = jax.random.normal(jax.random.key(3), (3, 4))

    def loss(kernel: jax.Array) -> jax.Array:
        return jnp.sum(layer.apply({**variables, "params": {"kernel": kernel}}, x) * weights)

    def exact(kernel: jax.Array) -> jax.Array:
        return jnp.sum(x @ kernel / jnp.linalg.svd(kernel, compute_uv=False)[0] * weights)

    kernel = variables["params"]["kernel"]
    np.testing.assert_allclose(jax.grad(loss)(kernel), jax.grad(exact)(kernel), rtol=1e-3, atol=1e-4)


def test_batch_norm_by_class_is_numpys() -> None:
    random = np.random.default_rng(0)
    x = random.normal(3, 2, (12, 4, 5, 3)).astype(np.float32)
    labels = random.integers(0, 4, 12)
    norm = layers.ClassBatchNorm(4)
    variables = norm.init(jax.random.key(0), x, labels)
    scale, bias = (random.normal(size=(4, 3)).astype(np.float32) for _ in range(2))
    variables = {**variables, "params": {"scale": scale, "bias": bias}}
    y, new = norm.apply(variables, x, labels, train=True, mutable=["batch_stats"])
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    by_class = lambda table: table[labels][:, None, None]
    expected = (x - mean) / np.sqrt(variance + 1e-5) * by_class(scale) + by_class(bias)
    np.testing.assert_allclose(y, expected, atol=1e-4)
    # Outside of training by the statistics that it has kept: a tenth of the batch's here, from 0 and 1 on.
    kept = new["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(kept["mean"], 0.1 * mean, rtol=1e-4)
    y = norm.apply({**variables, **new}, x, labels)
    expected = (x - 0.1 * mean) / np.sqrt(0.9 + 0.1 * variance + 1e-5) * by_class(scale) + by_class(bias)
    np.testing.assert_allclose(y, expected, atol=1e-4)
