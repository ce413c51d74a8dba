"""The heart: one update of D and G, and the training step that draws its batch and noise.

`update(state, real, z, key)` is all the arithmetic, with its randomness given; `train_step(state, images, labels)`
draws batch, z and key as functions of (state.key, state.step) and calls it. Both are pure.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array

from gan_jax import axis as devices
from gan_jax import data
from gan_jax.config import Config
from gan_jax.objectives import OBJECTIVES
from gan_jax.penalties import PENALTIES
from gan_jax.state import GanState, Params, make_networks, make_optimizers

Metrics = dict[str, Array]
Update = Callable[..., tuple[GanState, Metrics]]
TrainStep = Callable[[GanState, Array, Array | None], tuple[GanState, Metrics]]


def _apply(
    net: nn.Module, params: Params, stats: Params, x: Array, labels: Array | None
) -> tuple[Array, Params]:
    """A net's output in training, and its new other collections."""
    out, new_stats = net.apply({"params": params, **stats}, x, labels, train=True, mutable=list(stats))
    return out, dict(new_stats)


def _frozen(
    discriminator: nn.Module, params: Params, stats: Params, labels: Array | None
) -> Callable[[Array], Array]:
    """`images -> logits` without moving on any state of D's, which moves once with each of D's updates."""

    def d_apply(images: Array) -> Array:
        logits: Any = discriminator.apply({"params": params, **stats}, images, labels)
        return logits

    return d_apply


def make_d_update(config: Config, image_shape: tuple[int, ...], axis: str | None) -> Update:
    """`d_update(state, real [B, H, W, C], fake, key, labels [B] or None) -> (state, metrics)`."""
    discriminator = make_networks(config, image_shape, axis).discriminator
    objective = OBJECTIVES[config.loss]
    _, optimizer = make_optimizers(config)

    def d_loss(
        params: Params, state: GanState, real: Array, fake: Array, key: Array, labels: Array | None
    ) -> tuple[Array, Any]:
        # One pass over both halves: larger matrix products, and one step of any state D carries.
        both = jnp.concatenate([real, fake])
        both_labels = None if labels is None else jnp.concatenate([labels, labels])
        logits, stats = _apply(discriminator, params, state.d_stats, both, both_labels)
        real_logits, fake_logits = jnp.split(logits, 2)
        loss = objective.d_loss(real_logits, fake_logits)
        real_score, fake_score = objective.score(real_logits, fake_logits)
        metrics = {"d_loss": loss, "real_score": real_score, "fake_score": fake_score}
        d_apply = _frozen(discriminator, params, stats, labels)
        for i, name in enumerate(config.penalty):
            penalty_key = jax.random.fold_in(key, i)
            penalty = PENALTIES[name](d_apply, real, fake, penalty_key, axis=axis)
            metrics[f"{name}_penalty"] = penalty
            loss = loss + state.hyperparams[name] * penalty
        return loss, (metrics, stats)

    def d_update(
        state: GanState, real: Array, fake: Array, key: Array, labels: Array | None
    ) -> tuple[GanState, Metrics]:
        gradients, (metrics, stats) = jax.grad(d_loss, has_aux=True)(
            state.d_params, state, real, fake, key, labels
        )
        gradients, metrics, stats = devices.mean((gradients, metrics, stats), axis)
        updates, opt = optimizer.update(gradients, state.d_opt, state.d_params)
        params = optax.apply_updates(state.d_params, updates)
        if config.clip:
            clip = state.hyperparams["clip"]
            params = jax.tree.map(lambda p: jnp.clip(p, -clip, clip), params)
        return state.replace(d_params=params, d_stats=stats, d_opt=opt), metrics

    return d_update


def make_g_update(config: Config, image_shape: tuple[int, ...], axis: str | None) -> Update:
    """`g_update(state, real [B, H, W, C], forward, labels [B] or None) -> (state, metrics)`, the end of a step.

    forward: G's pass that D has just trained on, as `jax.vjp` gives it: images, pull-back, new statistics.
    """
    discriminator = make_networks(config, image_shape, axis).discriminator
    objective = OBJECTIVES[config.loss]
    optimizer, _ = make_optimizers(config)

    def g_loss(fake: Array, state: GanState, real: Array, labels: Array | None) -> Array:
        d_apply = _frozen(discriminator, state.d_params, state.d_stats, labels)
        # D(real) is computed for the relativistic loss alone; the compiler drops it for the others.
        return objective.g_loss(d_apply(real), d_apply(fake))

    def g_update(
        state: GanState, real: Array, forward: tuple[Array, Any, Params], labels: Array | None
    ) -> tuple[GanState, Metrics]:
        fake, pull_back, stats = forward
        loss, d_fake = jax.value_and_grad(g_loss)(fake, state, real, labels)
        (gradients,) = pull_back(d_fake)
        gradients, loss, stats = devices.mean((gradients, loss, stats), axis)
        updates, opt = optimizer.update(gradients, state.g_opt, state.g_params)
        params = optax.apply_updates(state.g_params, updates)
        average = _average(state, {"params": params, **stats}, config.ema)
        state = state.replace(g_params=params, g_stats=stats, g_opt=opt, g_ema=average)
        return state.replace(step=state.step + 1), {"g_loss": loss}

    return g_update


def make_update(config: Config, image_shape: tuple[int, ...], axis: str | None = None) -> Update:
    """`update(state, real [n, B, H, W, C], z [n, B, z_dim], key, labels=None) -> (state, metrics)`.

    n = config.d_steps updates of D, each on its own batch and noise, then one of G on the last noise.
    Images are floats in [−1, 1]; B is this device's share of the batch; labels [n, B], for conditional GANs, are
    those of the real images, and the generated ones are of the same classes. With `axis`, gradients, metrics
    and statistics are averaged over the devices of that mapped axis. Metrics are scalars; D's are those
    of its last update, before it.
    """
    generator = make_networks(config, image_shape, axis).generator
    d_update = make_d_update(config, image_shape, axis)
    g_update = make_g_update(config, image_shape, axis)

    def d_only(state: GanState, batch: tuple[Array, Array, Array, Array | None]) -> tuple[GanState, None]:
        real, z, key, labels = batch
        fake, g_stats = _apply(generator, state.g_params, state.g_stats, z, labels)
        state, _ = d_update(state.replace(g_stats=devices.mean(g_stats, axis)), real, fake, key, labels)
        return state, None

    def update(
        state: GanState, real: Array, z: Array, key: Array, labels: Array | None = None
    ) -> tuple[GanState, Metrics]:
        keys = jax.random.split(key, config.d_steps)
        batches = (real, z, keys, labels)
        state, _ = jax.lax.scan(d_only, state, jax.tree.map(lambda x: x[:-1], batches))
        last_real, last_z, last_key, last_labels = jax.tree.map(lambda x: x[-1], batches)
        # One generator forward serves both updates: D trains on its output, then G's gradient is pulled
        # back through it. A second forward on the same z would give the same images, for 11% more work.
        forward = jax.vjp(
            lambda params: _apply(generator, params, state.g_stats, last_z, last_labels),
            state.g_params,
            has_aux=True,
        )
        state, d_metrics = d_update(state, last_real, forward[0], last_key, last_labels)
        state, g_metrics = g_update(state, last_real, forward, last_labels)
        return state, d_metrics | g_metrics

    return update


def _average(state: GanState, variables: Params, decay: float) -> Params | None:
    """The generator's averaged variables after this step. The decay ramps up from 0.1, so that the average forgets
    the initial weights, which at a constant 0.999 would stay in it for thousands of steps."""  # fmt: skip
    if state.g_ema is None:
        return None
    step = state.step.astype(jnp.float32)
    ramped = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda average, p: average + (1.0 - ramped) * (p - average), state.g_ema, variables)


def make_train_step(config: Config, image_shape: tuple[int, ...], axis: str | None = None) -> TrainStep:
    """`train_step(state, images uint8 [N, H, W, C], labels int32 [N] or None) -> (state, metrics)`.

    Draws everything, then updates. A conditional run needs the labels; others take no notice of them.
    """
    update = make_update(config, image_shape, axis)

    def train_step(state: GanState, images: Array, labels: Array | None) -> tuple[GanState, Metrics]:
        order_key, noise_key = jax.random.split(state.key)
        z_key, update_key = jax.random.split(jax.random.fold_in(noise_key, state.step))
        batches = state.step * config.d_steps + jnp.arange(config.d_steps)
        order, index = jax.lax.scan(partial(_next_batch, config, order_key), state.order, batches)
        z = draw_z(config, z_key, (config.d_steps, config.batch_size))
        index = devices.local(index, axis, dim=1)
        classes = None if labels is None or not config.conditional else labels[index]
        state = state.replace(order=order)
        return update(state, data.to_float(images[index]), devices.local(z, axis, dim=1), update_key, classes)

    return train_step


def batches_per_epoch(config: Config, num_images: int) -> int:
    """Full batches in a pass over the data; the last partial one is dropped."""
    return num_images // config.batch_size


def _next_batch(config: Config, order_key: Array, order: Array, batch: Array) -> tuple[Array, Array]:
    """(the epoch's order, indices of its batch number `batch` since the start of the run)."""
    num_images = order.shape[0]
    epoch, position = jnp.divmod(batch, batches_per_epoch(config, num_images))

    def shuffle() -> Array:
        return jax.random.permutation(jax.random.fold_in(order_key, epoch), num_images).astype(jnp.int32)

    # Kept in the state because sorting 60,000 numbers takes several times as long as a step.
    order = jax.lax.cond(position == 0, shuffle, lambda: order)
    index = jax.lax.dynamic_slice_in_dim(order, position * config.batch_size, config.batch_size)
    return order, index


def draw_z(config: Config, key: Array, shape: tuple[int, ...]) -> Array:
    """Noise [*shape, z_dim], as the run's `z_distribution` says."""
    shape = (*shape, config.z_dim)
    if config.z_distribution == "uniform":
        return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
    return jax.random.normal(key, shape)
