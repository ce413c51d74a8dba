"""The JAX contenders: gan_jax's own loop, and the plain Flax loop; and what a step costs.

The plain loop is what most JAX users write: flax's layers, a `TrainState` per net, a jitted step that is called from
Python with a NumPy batch, fresh noise and a forward pass of G for each of the two updates, real and fake through D
one after the other.
"""

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training.train_state import TrainState
from jax import Array

from experiments.benchmark.contender import Contender
from gan_jax import data, devices, state
from gan_jax.config import Config
from gan_jax.layers import PRECISION, dense
from gan_jax.parts import build
from gan_jax.plan import plan
from gan_jax.step import make_update

IMAGE_SHAPE = (28, 28, 1)
# A chunk of the convolutional nets on a CPU: seconds, where log_every steps would be half a minute.
CPU_CONV_STEPS = 10
MATRIX_REPEATS = 3


def machine(device: str) -> dict[str, Any]:
    """What JAX runs on; `device` is PyTorch's."""
    del device
    first = jax.devices()[0]
    return {"platform": first.platform, "device": first.device_kind, "jax": jax.__version__}


def device_peak() -> int | None:
    """The most bytes that arrays held on the device; None on a CPU, whose memory is the process's."""
    stats = jax.devices()[0].memory_stats()
    return stats["peak_bytes_in_use"] if stats else None


def gan_jax(config: dict[str, Any], images: np.ndarray, device: str) -> Contender:
    """Our loop on one device. As in `gan_jax.train`, a chunk runs while the one before it is read."""
    del device
    system, some = _config(config), jax.devices()[:1]
    on_cpu = some[0].platform == "cpu"
    length = CPU_CONV_STEPS if on_cpu and system.model != "mlp" else system.log_every
    parts = build(system, IMAGE_SHAPE, None, devices.AXIS)
    chunk = devices.chunk(parts, length, some)
    on_device = devices.replicate((jnp.asarray(images), None), some)
    numbers = state.hyperparams(system, plan(system, len(images)).total)
    gan = devices.replicate(state.init(parts, numbers, system.seed, len(images)), some)
    done = 0

    def run(steps: int) -> tuple[float, float]:
        nonlocal gan, done
        unread = None
        for _ in range(0, steps, length):
            gan, metrics = chunk(gan, on_device, done, done + length)
            done += length
            jax.block_until_ready(unread)
            unread = metrics
        jax.block_until_ready((gan, metrics))
        return float(metrics["d_loss"][-1]), float(metrics["g_loss"][-1])

    return Contender(run, length, (_count(gan.g_params), _count(gan.d_params)))


class _NormTrainState(TrainState):
    """The usual TrainState of a net with BatchNorm."""

    batch_stats: Any


def naive(config: dict[str, Any], images: np.ndarray, device: str) -> Contender:
    """The plain Flax loop."""
    del device
    system = _config(config)
    generator, discriminator = _plain_nets(system.model)
    adam = optax.adam(system.g_learning_rate, system.beta1, system.beta2)
    g_key, d_key, key = jax.random.split(jax.random.key(0), 3)
    variables = generator.init(g_key, jnp.zeros((1, system.z_dim)))
    g = _NormTrainState.create(
        apply_fn=generator.apply,
        params=variables["params"],
        batch_stats=variables.get("batch_stats", {}),
        tx=adam,
    )
    params = discriminator.init(d_key, jnp.zeros((1, *IMAGE_SHAPE)))["params"]
    d = TrainState.create(apply_fn=discriminator.apply, params=params, tx=adam)
    step, batches = jax.jit(partial(_plain_step, system.z_dim)), _batches(images, system.batch_size)

    def run(steps: int) -> tuple[float, float]:
        nonlocal g, d, key
        for _ in range(steps):
            key, step_key = jax.random.split(key)
            g, d, losses = step(g, d, next(batches), step_key)
        jax.block_until_ready((g.params, d.params, losses))
        return float(losses[0]), float(losses[1])

    return Contender(run, 1, (_count(g.params), _count(d.params)))


def _plain_nets(model: str) -> tuple[nn.Module, nn.Module]:
    leaky, layer = partial(nn.leaky_relu, negative_slope=0.2), partial(nn.Dense, precision=PRECISION)
    flatten = lambda x: x.reshape(x.shape[0], -1)
    if model == "mlp":
        to_images = lambda x: x.reshape(-1, *IMAGE_SHAPE)
        g = nn.Sequential([layer(256), leaky, layer(784), nn.tanh, to_images])
        return g, nn.Sequential([flatten, layer(256), leaky, layer(1)])
    shrink = {"conv": 1, "conv_small": 4}[model]
    conv = lambda features: nn.Conv(features // shrink, (4, 4), 2, precision=PRECISION)
    up = partial(nn.ConvTranspose, kernel_size=(4, 4), strides=(2, 2), precision=PRECISION)
    norm = partial(nn.BatchNorm, use_running_average=False, momentum=0.9)
    g = nn.Sequential(
        [
            *(layer(1024 // shrink, use_bias=False), norm(), nn.relu),
            *(layer(49 * (128 // shrink), use_bias=False), norm(), nn.relu),
            lambda x: x.reshape(-1, 7, 7, 128 // shrink),
            *(up(64 // shrink, use_bias=False), norm(), nn.relu, up(1), nn.tanh),
        ]
    )
    head: list[Any] = [flatten, layer(1024 // shrink), leaky, layer(1)]
    return g, nn.Sequential([conv(64), leaky, conv(128), leaky, *head])


def _plain_step(
    z_dim: int, g: Any, d: Any, real: Array, key: Array
) -> tuple[TrainState, TrainState, tuple[Array, Array]]:
    d_key, g_key = jax.random.split(key)
    cross_entropy = lambda logits, label: optax.sigmoid_binary_cross_entropy(
        logits, jnp.full_like(logits, label)
    ).mean()

    def generate(params: Any, z_key: Array) -> tuple[Array, Any]:
        z = jax.random.normal(z_key, (len(real), z_dim))
        variables = {"params": params, "batch_stats": g.batch_stats}
        fake, new = g.apply_fn(variables, z, mutable=["batch_stats"])
        return fake, new.get("batch_stats", {})

    def d_loss(params: Any) -> Array:
        real_logits, fake_logits = (d.apply_fn({"params": params}, images) for images in (real, fake))
        return 0.5 * (cross_entropy(real_logits, 1.0) + cross_entropy(fake_logits, 0.0))

    def g_loss(params: Any) -> tuple[Array, Any]:
        fake, stats = generate(params, g_key)
        return cross_entropy(d.apply_fn({"params": d.params}, fake), 1.0), stats

    fake, stats = generate(g.params, d_key)
    d_value, gradients = jax.value_and_grad(d_loss)(d.params)
    d, g = d.apply_gradients(grads=gradients), g.replace(batch_stats=stats)
    (g_value, stats), gradients = jax.value_and_grad(g_loss, has_aux=True)(g.params)
    return g.apply_gradients(grads=gradients, batch_stats=stats), d, (d_value, g_value)


def _batches(images: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    while True:
        order = rng.permutation(len(images))
        for at in range(0, len(images) - batch_size + 1, batch_size):
            yield data.to_float(images[order[at : at + batch_size]])


def flop(config: dict[str, Any]) -> float:
    """Floating-point operations of one of our steps, by XLA's count; a multiplication and an addition are two."""
    system, real = _config(config), jax.ShapeDtypeStruct
    parts, numbers = build(system, IMAGE_SHAPE, None), state.hyperparams(system, 1)
    gan = jax.eval_shape(lambda: state.init(parts, numbers, 0, 1))
    images = real((1, system.batch_size, *IMAGE_SHAPE), jnp.float32)
    z = real((1, system.batch_size, system.z_dim), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    lowered: Any = jax.jit(make_update(parts)).lower(gan, images, z, key)
    return lowered.cost_analysis()["flops"]


def matrix_rates() -> dict[int, list[float]]:
    """FLOP/s of products of square matrices at our layers' precision, by size; each measured several times."""
    sizes = (1024, 2048, 4096) if jax.devices()[0].platform == "cpu" else (2048, 4096, 8192, 16384)
    rates: dict[int, list[float]] = {}
    for size in sizes:
        calls = max(1, 2 * (4096 // size) ** 2)
        product = jax.jit(dense)
        # Of about unit spectral radius, so that a chain of products stays finite.
        a, b = jax.random.normal(jax.random.key(0), (2, size, size)) / np.sqrt(size)
        jax.block_until_ready(product(a, b))
        rates[size] = []
        for _ in range(MATRIX_REPEATS):
            begin = time.perf_counter()
            for _ in range(calls):
                a = product(a, b)
            jax.block_until_ready(a)
            rates[size].append(2.0 * size**3 * calls / (time.perf_counter() - begin))
    return rates


def _config(values: dict[str, Any]) -> Config:
    return Config(**values)


def _count(params: Any) -> int:
    return sum(x.size for x in jax.tree.leaves(params))
