"""`fit`: training as an iterator over chunks of steps, in memory. It prints nothing and writes nothing.

for gan in gan_jax.fit(gan_jax.Config(loss="hinge", epochs=2), progress=True):
    print(gan.step, gan.metrics["d_loss"])
gan.grid()
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import data, devices, state
from gan_jax.bar import bar_of_steps
from gan_jax.config import Config, differing
from gan_jax.devices import AXIS, DeviceData, replicate
from gan_jax.draws import shuffled
from gan_jax.errors import Diverged, UserError
from gan_jax.gan import Gan, Log
from gan_jax.parts import Facts, Parts, build, facts_of
from gan_jax.pieces import Pieces
from gan_jax.plan import Plan, plan
from gan_jax.state import GanState
from gan_jax.step_memory import check_step_fits
from gan_jax.storage import not_finite


def fit(
    config: Config,
    images: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    *,
    start: Gan | None = None,
    progress: bool = False,
) -> Iterator[Gan]:
    """Train, and yield a `Gan` after each chunk: the next multiple of `log_every`, or of a checkpoint's cadence.

    A chunk runs on all devices, while the caller does what it likes with the Gan before; reading `metrics` waits for
    it. Leaving the loop stops the training, and a Gan stays valid after the next one is made. Works in any thread.
    In several processes (`jax.distributed.initialize`) each calls it with the same arguments, gets the same Gans, and
    goes through the loop as far as the others do.

    Args:
      config: the run; its `workdir` and all that is about files are not used.
      images: uint8 [N, H, W, C]; by default those of `config.dataset`.
      labels: whole numbers [N] from 0 on without gaps, for a conditional GAN.
      start: a Gan to go on from, until the length that `config` asks for. Its config may differ from `config` in
        rates, weights and length; the images may be others of the same shape. With a schedule another length moves the
        rates: they are then those of this step in a run of the new length.
      progress: show a progress bar, also in a notebook.

    Raises:
      UserError: at the call, for what cannot be trained.
      Diverged: by the chunk after, when a loss is not finite any more.
    """
    images, labels = images_of(config, images, labels)
    parts, course = prepare(config, facts_of(images, labels, conditional=config.conditional))
    return iterate(config, parts, course, images, labels, start, progress)


def iterate(
    config: Config,
    parts: Parts,
    course: Plan,
    images: np.ndarray,
    labels: np.ndarray | None,
    start: Gan | None,
    progress: bool = False,
    asked: Callable[[], bool] = lambda: False,
) -> Iterator[Gan]:
    """`fit`, of the parts and the course that `prepare` gave for these images and labels.

    asked: whether somebody wants it to stop. A chunk of slow steps then ends early, and its Gan is the last.
    """
    some = jax.devices()
    pieces = Pieces(devices.chunk(parts, course.length, some), some, asked)
    begin = _begin(config, parts, course, len(images), start)
    on_device = jnp.asarray(labels, jnp.int32) if labels is not None and config.conditional else None
    placed = replicate((jnp.asarray(images), on_device), some)
    return _chunks(Gan(config, parts, replicate(begin, some), course), pieces, placed, progress)


def images_of(
    config: Config, images: np.ndarray | None = None, labels: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """The given arrays, or where there are none, the train split of the config's data set."""
    if images is None:
        if labels is not None:
            raise UserError("labels were given without their images: give both.")
        images, labels = data.load(
            config.dataset,
            "train",
            config.data_dir,
            image_size=config.image_size,
            channels=config.channels,
        )
    return np.asarray(images), None if labels is None else np.asarray(labels)


def prepare(config: Config, facts: Facts) -> tuple[Parts, Plan]:
    """What `fit` will train on such images, and its course. Raises `UserError` for what cannot be trained."""
    course = plan(config, facts.num_images)
    parts = build(config, facts.image_shape, facts.num_classes, AXIS)
    devices.check_divides(parts, jax.devices())
    devices.check_fits(facts.num_bytes, jax.devices())
    check_step_fits(config, parts, jax.devices())
    return parts, course


def _chunks(gan: Gan, pieces: Pieces, images: DeviceData, progress: bool) -> Iterator[Gan]:
    begin, before = gan.step, None
    shown = bar_of_steps(gan.plan.total, begin) if progress else None
    try:
        while begin < gan.plan.total:
            new, columns, stop = pieces.run(gan.state, images, begin, gan.plan.stop(begin))
            if before is not None:
                _ = before.metrics  # raises Diverged; the device is busy meanwhile
                _show(shown, before)
            gan = before = dataclasses.replace(gan, state=new, log=Log(begin, stop, columns))
            yield gan
            begin = stop
        if before is not None:
            _ = before.metrics
            _show(shown, before)
            _check_finite(before)
    finally:
        if shown is not None:
            shown.close()


def _check_finite(gan: Gan) -> None:
    """Raises `Diverged` where the run's last step lost a number: no later step's loss would tell."""
    if name := not_finite(state.to_arrays(gan.state)):
        raise Diverged(f"step {gan.step}: {name} is not finite")


def _show(shown: Any, gan: Gan) -> None:
    if shown is not None:
        shown.set_postfix_str(f"D {gan.metrics['d_loss']:.3f}, G {gan.metrics['g_loss']:.3f}", refresh=False)
        shown.update(gan.step - shown.n)


def _begin(config: Config, parts: Parts, course: Plan, num_images: int, start: Gan | None) -> GanState:
    """The state to begin with: a fresh one, or that of `start` with this config's hyperparameters."""
    numbers = state.hyperparams(config, course.total)
    if start is None:
        return state.init(parts, numbers, config.seed, num_images)
    check_goes_on(start.config, config)
    # What a config's rates and its log make of the parts may differ.
    free = {name: getattr(parts, name) for name in ("ema", "clip", "grad_clip", "log_gradients")}
    if dataclasses.replace(start.parts, **free) != parts:
        raise UserError(f"start has other parts: {other_part(start.parts, parts)}.")
    if start.step > course.total:
        raise UserError(
            f"start is at step {start.step}, past the {course.total} asked for: give more epochs or steps."
        )
    begun = start.state.replace(
        hyperparams=numbers, g_ema=start.state.sampling_variables if parts.ema else None
    )
    if begun.order.shape[0] != num_images:  # other images: this epoch's order of theirs
        epoch = jnp.int32(start.step * parts.d_steps // (num_images // parts.batch_size))
        begun = begun.replace(order=shuffled(jax.random.split(begun.key)[0], epoch, num_images))
    return begun


def check_goes_on(there: Config, here: Config) -> None:
    """Raises `UserError` unless a GAN of one config may go on with the other."""
    if found := differing(there, here, "system"):
        raise UserError(
            f"start is of another config, differing in {', '.join(found)}: only rates, weights, clipping and the "
            "length may."
        )


def other_part(there: Parts, here: Parts) -> str:
    """What of the parts is not the same."""
    if there.image_shape != here.image_shape:
        return f"its images are {list(there.image_shape)} and these {list(here.image_shape)}"
    if there.num_classes != here.num_classes:
        return f"its labels are below {there.num_classes} and these below {here.num_classes}"
    return "a net, loss, penalty or optimizer was defined anew since"
