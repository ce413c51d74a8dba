"""The heart: one update of D and G, and the training step that draws its batch and noise.

`update(state, real, z, key)` is all the arithmetic, with its randomness given. `train_step(state, drawn, images,
labels)` calls it with the batch, z and key that were drawn for it, functions of (state.key, state.step). Both are pure.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array

from gan_jax import axis as over
from gan_jax import data, penalties
from gan_jax.augmentations import augmented
from gan_jax.draws import Draws, draw_z
from gan_jax.parts import Parts
from gan_jax.state import GanState, Params, optimizer

Metrics = dict[str, Array]
Update = Callable[..., tuple[GanState, Metrics]]
TrainStep = Callable[[GanState, Draws, Array, Array | None], tuple[GanState, Metrics]]


def _apply(
    net: nn.Module, params: Params, stats: Params, x: Array, labels: Array | None, dropout_key: Array
) -> tuple[Array, Params]:
    """A net's output in training, and its new other collections.

    A layer draws its dropout for the batch that it sees: with dropout, and nothing else, results depend on the number
    of devices.
    """
    variables, rngs = {"params": params, **stats}, {"dropout": dropout_key}
    out, new_stats = net.apply(variables, x, labels, train=True, mutable=list(stats), rngs=rngs)
    return out, dict(new_stats)


def _frozen(
    discriminator: nn.Module, params: Params, stats: Params, labels: Array | None
) -> Callable[[Array], Array]:
    """`images -> logits` outside of training: no state of D's is moved on, which moves once with each of D's updates,
    and no dropout makes a gradient penalty depend on luck."""  # fmt: skip

    def d_apply(images: Array) -> Array:
        logits: Any = discriminator.apply({"params": params, **stats}, images, labels)
        return logits

    return d_apply


def _optimized(
    parts: Parts,
    state: GanState,
    net: Literal["g", "d"],
    opt: optax.OptState,
    gradients: Params,
    params: Params,
) -> tuple[Params, optax.OptState]:
    """New parameters and optimizer state: gradients clipped and updates scheduled, where the run does so."""
    rule = optimizer(parts, _forgetting(parts, state), net)
    if parts.grad_clip:
        clip = optax.clip_by_global_norm(state.hyperparams["grad_clip"])
        gradients, _ = clip.update(gradients, clip.init(params))
    updates, opt = rule.update(gradients, opt, params)
    if parts.schedule.updates is not None:
        factor = parts.schedule.updates(_share(state))
        updates = jax.tree.map(lambda update: factor * update, updates)
    return optax.apply_updates(params, updates), opt


def _share(state: GanState) -> Array:
    """The share of the run that is over, from 0 to 1."""
    return state.step.astype(jnp.float32) / state.hyperparams["total_steps"]


def _forgetting(parts: Parts, state: GanState) -> Mapping[str, Array]:
    """The hyperparameters with β₂ as the schedule has it."""
    numbers = state.hyperparams
    if parts.schedule.forgetting is None:
        return numbers
    forgotten = jnp.minimum(parts.schedule.forgetting(_share(state)) * (1.0 - numbers["beta2"]), 1.0)
    return {**numbers, "beta2": 1.0 - forgotten}


def make_d_loss(parts: Parts) -> Callable[..., tuple[Array, Any]]:
    """`d_loss(params, state, real [B, H, W, C], fake, key, labels [B] or None) -> (loss, (metrics, stats))`.

    The loss is the objective's, plus weight × penalty for each penalty. All of it is of images as D sees them,
    augmented where the run does so.
    """

    def d_loss(
        params: Params, state: GanState, real: Array, fake: Array, key: Array, labels: Array | None
    ) -> tuple[Array, Any]:
        real, fake = _seen(parts, _d_augment_key(key), real, fake)
        # One pass over both halves: larger matrix products, and one step of any state D carries.
        both = jnp.concatenate([real, fake])
        both_labels = None if labels is None else jnp.concatenate([labels, labels])
        dropout_key = over.own_key(jax.random.fold_in(key, len(parts.penalties)), parts.axis)
        logits, stats = _apply(parts.discriminator, params, state.d_stats, both, both_labels, dropout_key)
        real_logits, fake_logits = jnp.split(logits, 2)
        loss = parts.objective.d_loss(real_logits, fake_logits)
        real_score, fake_score = parts.objective.score(real_logits, fake_logits)
        metrics = {"d_loss": loss, "real_score": real_score, "fake_score": fake_score}
        d_apply = _frozen(parts.discriminator, params, stats, labels)
        for name, value in _penalties(parts, state, d_apply, real, fake, key).items():
            metrics[f"{name}_penalty"] = value
            weight = state.hyperparams[f"{name}_weight"]
            if parts.schedule.penalties is not None:
                weight = parts.schedule.penalties(_share(state)) * weight
            loss = loss + weight * value
        return loss, (metrics, stats)

    return d_loss


def _penalties(
    parts: Parts, state: GanState, d_apply: Callable[[Array], Array], real: Array, fake: Array, key: Array
) -> Metrics:
    """The penalties' values by name. Where only every Nth step has them they are N times as large there, and else 0:
    on average the same, as in the log (Karras 2020, §3.1)."""  # fmt: skip

    def values() -> Metrics:
        return {
            name: penalties.apply(penalty, d_apply, real, fake, jax.random.fold_in(key, i), parts.axis)
            for i, (name, penalty) in enumerate(parts.penalties)
        }

    every = parts.penalty_every
    if every == 1:
        return values()
    scaled = lambda: jax.tree.map(lambda x: every * x, values())
    zeros = lambda: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(values))
    return jax.lax.cond(state.step % every == 0, scaled, zeros)


def make_d_update(parts: Parts) -> Update:
    """`d_update(state, real [B, H, W, C], fake, key, labels [B] or None) -> (state, metrics)`."""
    gradient = jax.grad(make_d_loss(parts), has_aux=True)

    def d_update(
        state: GanState, real: Array, fake: Array, key: Array, labels: Array | None
    ) -> tuple[GanState, Metrics]:
        gradients, (metrics, stats) = gradient(state.d_params, state, real, fake, key, labels)
        gradients, metrics, stats = over.mean((gradients, metrics, stats), parts.axis)
        metrics = metrics | _norm(parts, "d", gradients)
        params, opt = _optimized(parts, state, "d", state.d_opt, gradients, state.d_params)
        if parts.clip:
            clip = state.hyperparams["clip"]
            params = jax.tree.map(lambda p: jnp.clip(p, -clip, clip), params)
        return state.replace(d_params=params, d_stats=stats, d_opt=opt), metrics

    return d_update


def make_g_update(parts: Parts) -> Update:
    """`g_update(state, real [B, H, W, C], forward, key, labels [B] or None) -> (state, metrics)`, the end of a step.

    forward: G's pass that D has just trained on, as `jax.vjp` gives it: images, pull-back, new statistics. key: of the
    augmentations, which are drawn anew.
    """

    def g_loss(fake: Array, state: GanState, real: Array, key: Array, labels: Array | None) -> Array:
        d_apply = _frozen(parts.discriminator, state.d_params, state.d_stats, labels)
        real, fake = _seen(parts, _g_augment_key(key), real, fake)
        # D(real) is computed for the relativistic loss alone; the compiler drops it for the others.
        return parts.objective.g_loss(d_apply(real), d_apply(fake))

    def g_update(
        state: GanState, real: Array, forward: tuple[Array, Any, Params], key: Array, labels: Array | None
    ) -> tuple[GanState, Metrics]:
        fake, pull_back, stats = forward
        loss, d_fake = jax.value_and_grad(g_loss)(fake, state, real, key, labels)
        (gradients,) = pull_back(d_fake)
        gradients, loss, stats = over.mean((gradients, loss, stats), parts.axis)
        params, opt = _optimized(parts, state, "g", state.g_opt, gradients, state.g_params)
        average = _average(state, {"params": params, **stats})
        state = state.replace(g_params=params, g_stats=stats, g_opt=opt, g_ema=average)
        return state.replace(step=state.step + 1), {"g_loss": loss} | _norm(parts, "g", gradients)

    return g_update


def _seen(parts: Parts, key: Array, real: Array, fake: Array) -> tuple[Array, Array]:
    """Both batches [B, H, W, C] as D sees them: augmented, where the run does so, and in packs."""
    if parts.augmentations:
        real, fake = augmented(parts.augmentations, key, parts.axis, real, fake)
    return parts.packed(real), parts.packed(fake)


def _norm(parts: Parts, net: str, gradients: Params) -> Metrics:
    """The metric of a net's gradient, over all its parameters and before any clipping, where the run logs it."""
    if not parts.log_gradients:
        return {}
    squares = [jnp.sum(jnp.square(x)) for x in jax.tree.leaves(gradients)]
    return {f"{net}_gradient_norm": jnp.sqrt(jnp.sum(jnp.stack(squares)))}


def _average(state: GanState, variables: Params) -> Params | None:
    """The generator's averaged variables after this step. The decay ramps up from 0.1, so that the average forgets
    the initial weights, which at a constant 0.999 would stay in it for thousands of steps."""  # fmt: skip
    if state.g_ema is None:
        return None
    step = state.step.astype(jnp.float32)
    ramped = jnp.minimum(state.hyperparams["ema"], (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda average, p: average + (1.0 - ramped) * (p - average), state.g_ema, variables)


def make_update(parts: Parts) -> Update:
    """`update(state, real [n, B, H, W, C], z [n, B, z_dim], key, labels=None) -> (state, metrics)`.

    n = parts.d_steps updates of D, each on its own batch and noise, then one of G on the last noise.
    Images are floats in [−1, 1]; B is this device's share of the batch; labels [n, B], for conditional GANs, are
    those of the real images, and the generated ones are of the same classes. With `parts.axis`, gradients, metrics
    and statistics are averaged over the devices of that mapped axis. Metrics are scalars; D's are those
    of its last update, before it.
    """
    generator = parts.generator
    d_update, g_update = make_d_update(parts), make_g_update(parts)

    def d_only(state: GanState, batch: tuple[Array, Array, Array, Array | None]) -> tuple[GanState, None]:
        real, z, key, labels = batch
        fake, g_stats = _apply(generator, state.g_params, state.g_stats, z, labels, _g_key(key, parts.axis))
        state = state.replace(g_stats=over.mean(g_stats, parts.axis))
        return d_update(state, real, fake, key, labels)[0], None

    def update(
        state: GanState, real: Array, z: Array, key: Array, labels: Array | None = None
    ) -> tuple[GanState, Metrics]:
        state = _counted(parts, state)
        keys = jax.random.split(key, parts.d_steps)
        batches = (real, z, keys, labels)
        state, _ = jax.lax.scan(d_only, state, jax.tree.map(lambda x: x[:-1], batches))
        last_real, last_z, last_key, last_labels = jax.tree.map(lambda x: x[-1], batches)
        # One generator forward serves both updates: D trains on its output, then G's gradient is pulled
        # back through it. A second forward on the same z would give the same images, for 11% more work.
        forward = jax.vjp(
            lambda params: _apply(
                generator, params, state.g_stats, last_z, last_labels, _g_key(last_key, parts.axis)
            ),
            state.g_params,
            has_aux=True,
        )
        state, d_metrics = d_update(state, last_real, forward[0], last_key, last_labels)
        state, g_metrics = g_update(state, last_real, forward, last_key, last_labels)
        return state, d_metrics | g_metrics

    return update


def _counted(parts: Parts, state: GanState) -> GanState:
    """The same state, with the count of G's Adam taken from D's, which it equals where a step updates each net once.

    What corrects the moments' bias depends on it, and is then a kernel of an accelerator's step for both and not each.
    """
    g, d = state.g_opt, state.d_opt
    if parts.d_steps > 1 or any(
        type(x) is not tuple or not isinstance(x[0], optax.ScaleByAdamState) for x in (g, d)
    ):
        return state
    return state.replace(g_opt=(g[0]._replace(count=d[0].count), *g[1:]))


# Keys of an update for what is no penalty's and not D's dropout, which have the numbers from 0 on.
def _g_key(key: Array, axis: str | None) -> Array:
    """The key of G's dropout."""
    return over.own_key(jax.random.fold_in(key, 2**31), axis)


def _d_augment_key(key: Array) -> Array:
    """The key of the augmentations of D's update."""
    return jax.random.fold_in(key, 2**31 + 1)


def _g_augment_key(key: Array) -> Array:
    """The key of the augmentations of G's update."""
    return jax.random.fold_in(key, 2**31 + 2)


def make_train_step(parts: Parts) -> TrainStep:
    """`train_step(state, drawn, images uint8 [N, H, W, C], labels int32 [N] or None) -> (state, metrics)`.

    In place of images there may be points float32 [N, 2]. Takes what `draws.draw` has drawn for this step, then
    updates. A conditional run needs the labels; others take no notice of them.
    """
    update = make_update(parts)

    def train_step(
        state: GanState, drawn: Draws, images: Array, labels: Array | None
    ) -> tuple[GanState, Metrics]:
        z = draw_z(parts, drawn.z_key, (parts.d_steps, parts.batch_size))
        z, index = (over.local(x, parts.axis, dim=1) for x in (z, drawn.batch))
        classes = None if labels is None or parts.num_classes is None else labels[index]
        return update(state, data.to_float(images[index]), z, drawn.update_key, classes)

    return train_step
