"""What `train --time` does: the number of steps that a time makes, from the run's folder, or measured for a new run."""

import dataclasses
import io
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gan_jax import drawing, duration, workdir
from gan_jax.checkpoint import Checkpoints
from gan_jax.config import Config
from gan_jax.duration import Task, spelled
from gan_jax.evaluation.protocol import Evaluator
from gan_jax.evaluation.samples import samples_for
from gan_jax.gan import Gan
from gan_jax.parts import Facts
from gan_jax.plan import MOST_UPDATES, plan
from gan_jax.state import to_arrays
from gan_jax.storage import scratch

CHUNKS = 10_000  # of a long run, whose mean length is taken


class Limit(NamedTuple):
    """A time that a run may take, and when that began, by `time.perf_counter`."""

    time: str
    began: float


def named(config: Config, limit: Limit | None) -> Config:
    """The config with the folder of a run of that time, where the length is part of a folder's name."""
    if limit is None or config.workdir is not None or config.schedule == "constant":
        return config
    return dataclasses.replace(config, workdir=f"{workdir.path_of(config)}-time={limit.time}")


def settled(
    config: Config,
    limit: Limit,
    images: np.ndarray,
    labels: np.ndarray | None,
    facts: Facts,
    evaluator: Evaluator | None,
) -> Config:
    """The config with its number of steps: that which the folder has recorded for this time, or a measured one.

    Says which. Raises `UserError` for a folder of another run, for what cannot be trained, and for too short a time.
    """
    folder = workdir.path_of(config)
    if (folder / "config.json").exists():
        record = workdir.read(folder)
        length = plan(record.config, facts.num_images).total
        recorded = dataclasses.replace(config, steps=length)
        workdir.check(recorded, facts)  # before the time it takes to measure
        if record.time == limit.time:
            print(f"{length} steps, as this folder has recorded for --time={limit.time}", flush=True)
            return recorded
        if config.schedule != "constant":
            same = f"--steps={length}" if record.time is None else f"--time={record.time}"
            raise workdir.another_length(folder, f"{length} steps ({same})", config.schedule, same)
    else:
        workdir.check(config, facts)  # likewise
    with scratch() as empty:
        tasks = _tasks(config, facts, evaluator, empty)
        steps = duration.steps_within(config, limit.time, images, labels, tasks=tasks, began=limit.began)
    print(
        f"{steps} steps in about {spelled(limit.time)}, by the speed of a few that are thrown away",
        flush=True,
    )
    return dataclasses.replace(config, steps=steps)


def _tasks(config: Config, facts: Facts, evaluator: Evaluator | None, folder: Path) -> list[Task]:
    """What `train` does with chunks: it draws, saves and evaluates them."""

    def draw(gan: Gan) -> None:
        drawing.painting(gan, drawing.sketch(gan))().save(io.BytesIO(), "PNG")

    def save(gan: Gan) -> None:
        with Checkpoints(folder, write=True) as checkpoints:
            checkpoints.save(to_arrays(gan.state), 0)

    course = plan(dataclasses.replace(config, steps=MOST_UPDATES // config.d_steps), facts.num_images)
    step = chunks = 0
    while chunks < CHUNKS and step < course.total:
        step, chunks = course.stop(step), chunks + 1
    chunk = step / chunks  # on average
    # After a chunk in which an epoch to evaluate after has ended: once, however many have.
    period = max((config.eval_every or math.inf) * course.batches / config.d_steps, chunk)
    often, kept = config.checkpoint_every, config.keep_every
    both = math.inf if kept is None else math.lcm(often, kept)
    saves = 1 / often + (0 if kept is None else 1 / kept) - 1 / both + 1 / period
    found = [Task(chunk, draw, beside=True), Task(1 / saves, save, last=True)]
    if evaluator is not None:
        evaluate = lambda gan: evaluator.frechet(samples_for(evaluator, gan))
        found.append(Task(period, evaluate, last=True))
    return found
