"""GANs read back from a folder: `load`, `load_population`, and what makes either of a checkpoint's arrays."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from gan_jax import state, workdir
from gan_jax.checkpoint import Checkpoints, Step
from gan_jax.config import Config
from gan_jax.devices import AXIS
from gan_jax.errors import UserError
from gan_jax.gan import Gan
from gan_jax.members import Members, first_members
from gan_jax.options import CHECKPOINT, PATH, converted
from gan_jax.parts import Facts, Parts, build
from gan_jax.plan import Plan, plan
from gan_jax.population import Population, prepare_population
from gan_jax.storage import expanded
from gan_jax.workdir import Record


def restored(
    config: Config, parts: Parts, course: Plan, num_images: int, arrays: Mapping[str, np.ndarray]
) -> Gan:
    """The Gan of a checkpoint's arrays. Raises `UserError` if they are not a state of this config."""
    numbers = state.hyperparams(config, course.total)
    like = jax.eval_shape(lambda: state.init(parts, numbers, config.seed, num_images))
    return Gan(config, parts, state.from_arrays(like, arrays), course)


def restored_population(
    configs: Sequence[Config], facts: Facts, arrays: Mapping[str, np.ndarray], step: int
) -> Population:
    """The Population of a checkpoint's arrays. Raises `UserError` if they are not states of these configs."""
    parts, course = prepare_population(configs, facts)
    like = jax.eval_shape(lambda: first_members(configs, parts, course, facts.num_images))
    members: Members = state.from_arrays(like, arrays)
    return Population(tuple(configs), parts, course, members, step, step, {})


def load(
    folder: str | Path,
    checkpoint: Step = None,
    *,
    member: int | None = None,
    warn: Callable[[str], object] = warnings.warn,
) -> Gan:
    """The Gan of a run's folder, at its newest checkpoint, that of a step, or the "best" one.

    `member` says which of a population's; one that diverged is as it was before. `warn` is told of that, and of damaged
    checkpoints that are passed over. Raises `UserError` if there is no run, no such member, or no usable checkpoint.
    """
    folder, record = _record(folder, checkpoint)
    check_member(folder, record, member)
    if member is not None:
        population = _population(folder, record, checkpoint, warn)
        if (lost := int(population.diverged[member])) >= 0:
            at = population[member].step
            warn(f"member {member} of {folder} diverged at step {lost}; this is it at step {at}")
        return population[member]
    config, facts = record.config, record.facts
    step, arrays = _newest(folder, checkpoint, warn, workdir.digest(record.configs, record.facts))
    with _fitting(folder, step):
        parts = build(config, facts.image_shape, facts.num_classes, AXIS)
        return restored(config, parts, plan(config, facts.num_images), facts.num_images, arrays)


def load_population(
    folder: str | Path, checkpoint: Step = None, *, warn: Callable[[str], object] = warnings.warn
) -> Population:
    """The Population of a folder that `compare` has trained, as `load` gives a Gan; it has no "best" checkpoint."""
    folder, record = _record(folder, checkpoint)
    if record.alone:
        raise UserError(f"{folder} holds a single run and no population: use `load`.")
    return _population(folder, record, checkpoint, warn)


def check_member(folder: Path, record: Record, member: int | None) -> None:
    """Raises `UserError` unless `member` says which GAN of the folder is meant: None for the one of a single run."""
    count = len(record.configs)
    if record.alone and member is not None:
        raise UserError(f"{folder} holds a single run and no population: leave --member out.")
    if not record.alone and (member is None or not 0 <= member < count):
        raise UserError(
            f"{folder} holds a population of {count}: say which member, from 0 to {count - 1}, as in --member=0."
        )


def _record(folder: str | Path, checkpoint: Step) -> tuple[Path, Record]:
    folder = expanded(converted("workdir", folder, PATH))
    if checkpoint is not None:
        converted("checkpoint", checkpoint, CHECKPOINT)
    record = workdir.read(folder)
    if not record.alone and checkpoint == "best":
        raise UserError(f"{folder} holds a population, which has no best checkpoint: give a step, or none.")
    return folder, record


def _population(folder: Path, record: Record, checkpoint: Step, warn: Callable[[str], object]) -> Population:
    step, arrays = _newest(folder, checkpoint, warn, workdir.digest(record.configs, record.facts))
    with _fitting(folder, step):
        return restored_population(record.configs, record.facts, arrays, step)


@contextlib.contextmanager
def _fitting(folder: Path, step: int) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f"checkpoint {step} does not fit {folder / 'config.json'}: {error}.") from error


def _newest(
    folder: Path, checkpoint: Step, warn: Callable[[str], object], digest: str
) -> tuple[int, dict[str, np.ndarray]]:
    """The step and arrays of the newest checkpoint, or the one asked for."""
    none_yet = f"{folder} holds no checkpoint yet: let gan_jax.train run for a while first."
    if not (folder / "checkpoints").is_dir():
        raise UserError(none_yet)
    with Checkpoints(folder / "checkpoints", digest=digest) as checkpoints:
        found = checkpoints.restore(warn, checkpoint)
    if found is None and checkpoint == "best":
        raise UserError(
            f"{folder} holds no evaluated checkpoint: train with --eval_every=EPOCHS to have a best one."
        )
    if found is None:
        raise UserError(none_yet)
    return found
