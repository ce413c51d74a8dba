"""`--time=10m`: a run as long as a time, by the speed of steps that are thrown away before it begins.

The number of steps is then fixed, as the schedules of the rates need it, and recorded: the run goes on, and is
repeated, with as many, however fast the machine is by then.
"""

import dataclasses
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import devices, options, state
from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.gan import Gan
from gan_jax.options import converted, option
from gan_jax.parts import facts_of
from gan_jax.plan import MOST_UPDATES
from gan_jax.state import GanState
from gan_jax.training import images_of, prepare

UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}
# Of the time that is left once the speed is known: the end of a run writes pictures, and machines have other work.
USED = 0.97
# Seconds of measuring: a share of the time, within bounds.
SHARE, LEAST, MOST = 0.02, 1.0, 10.0
LONG = 50  # chunks: of so many a part of one does not matter


def _seconds(value: Any) -> float:
    if isinstance(value, str):
        found = re.fullmatch(r"(\d+\.?\d*|\.\d+)([hms])", value.strip())
        value = float(found[1]) * UNITS[found[2]] if found else None
    return float(f"{options.real('', lambda x: x > 0).convert(value):.12g}")  # 4.1m are 246 s


TIME = options.Rule(
    "a positive number with a unit, such as 90s, 10m or 1.5h", lambda x: worded(_seconds(x)), metavar="TIME"
)


def worded(seconds: float) -> str:
    """A time as TIME reads it, in the largest unit of which it is a whole number."""
    for unit, size in UNITS.items():
        if seconds % size == 0:
            return f"{int(seconds / size)}{unit}"
    return f"{np.format_float_positional(seconds, trim='-')}s"  # TIME reads no exponents


def spelled(text: str) -> str:
    """A time of `worded` in words."""
    number, unit = text[:-1], {"h": "hour", "m": "minute", "s": "second"}[text[-1]]
    return f"{number} {unit}{'' if number == '1' else 's'}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Length:
    """The length of the run as a time."""

    time: str | None = option(
        None,
        "Train for about this long, compiling and evaluations counted, instead of --steps or --epochs: 90s, 10m, 1.5h. "
        "The speed is measured first, and makes it a number of steps.",
        TIME,
        role="length",
        also=("max_time", "walltime", "duration", "minutes", "time_limit"),
    )


class Task(NamedTuple):
    """What a run does besides, every so many steps, with the Gan that it has then.

    beside: an accelerator trains meanwhile. last: it is done at the end of the run as well.
    """

    every: float
    act: Callable[[Gan], object]
    beside: bool = False
    last: bool = False


def steps_within(
    config: Config,
    length: str | float,
    images: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    *,
    tasks: Sequence[Task] = (),
    began: float | None = None,
) -> int:
    """How many steps of a run take about so long: `dataclasses.replace(config, steps=steps_within(config, "10m"))`.

    Measured by steps that are thrown away. The time includes that, and compiling, which `fit` does not do
    again unless the run is shorter than a chunk. A chunk is mostly `log_every` steps. Runs of 50 chunks or more are
    rounded down to whole chunks. On an accelerator all runs of a chunk or more are: another length would be another
    program.

    Args:
      config: the run; its own length does not count.
      length: "90s", "10m", "1.5h", or seconds.
      images, labels: as for `fit`.
      tasks: what else is done in that time.
      began: when the time began, by `time.perf_counter`; by default now.

    Raises:
      UserError: for what cannot be trained, or too short a time.
    """
    began = time.perf_counter() if began is None else began
    text = converted("time", length, TIME)
    seconds = _seconds(text)
    images, labels = images_of(config, images, labels)
    if (gone := time.perf_counter() - began) >= seconds:  # which compiling would take far beyond
        raise UserError(
            f"--time={text} is too short: {gone:.1f} s are over before the program is compiled. Give more."
        )
    gan, run = _trial(config, images, labels)
    a_step, compiling = _step_seconds(gan, run, min(max(SHARE * seconds, LEAST), MOST))
    took = {task: _task_seconds(task, gan) for task in tasks}
    cost = _cost(a_step, took)
    gone = time.perf_counter() - began
    left = seconds - gone - sum(spent for task, spent in took.items() if task.last)
    chunk = gan.plan.length
    steps = int(USED * left / cost)
    if steps < chunk:  # a run without a whole chunk is another program
        steps = min(chunk, int(USED * (left - compiling) / cost))
    if steps < 1:
        raise UserError(
            f"--time={text} is too short: {gone:.0f} s are over once the program is compiled, and a step takes "
            f"{cost:.2g} s. Give more."
        )
    whole = chunk if steps >= LONG * chunk or devices.needs_known_length(jax.devices()[0]) else 1
    return min(steps // whole * whole or steps, MOST_UPDATES // config.d_steps)


def _cost(a_step: float, took: Mapping[Task, float]) -> float:
    """Seconds of a step and of its share of the tasks, of which each has taken so long."""
    beside = sum(spent / task.every for task, spent in took.items() if task.beside)
    between = sum(spent / task.every for task, spent in took.items() if not task.beside)
    if devices.needs_known_length(jax.devices()[0]):
        return max(a_step, beside) + between
    return a_step + beside + between


def _trial(
    config: Config, images: np.ndarray, labels: np.ndarray | None
) -> tuple[Gan, Callable[[GanState, int], GanState]]:
    """The Gan before the first step of a long run, and what takes so many steps from a state on and waits for them."""
    config = dataclasses.replace(config, steps=MOST_UPDATES // config.d_steps)
    parts, course = prepare(config, facts_of(images, labels, conditional=config.conditional))
    numbers = state.hyperparams(config, course.total)
    on_device = jnp.asarray(labels, jnp.int32) if labels is not None and config.conditional else None
    first = state.init(parts, numbers, config.seed, len(images))
    begun, data = devices.replicate((first, (jnp.asarray(images), on_device)), jax.devices())
    chunk = devices.chunk(parts, course.length, jax.devices())

    def run(begun: GanState, steps: int) -> GanState:
        step = int(begun.step)
        return jax.block_until_ready(chunk(begun, data, step, step + steps)[0])

    return Gan(config, parts, begun, course), run


def _step_seconds(gan: Gan, run: Callable[[GanState, int], GanState], least: float) -> tuple[float, float]:
    """Seconds of a step, by chunks that take so many seconds together, and those of compiling."""
    length, every = gan.plan.length, gan.parts.penalty_every
    # An accelerator has a program of its own for whole chunks. On a CPU a few steps tell how long more would take.
    n = first = length if devices.needs_known_length(jax.devices()[0]) else 1
    begin = time.perf_counter()
    begun = run(gan.state, n)  # compiles; and what follows begins no epoch, whose order takes a while
    started = time.perf_counter() - begin
    # From here on n steps have as many lazy penalties as they can have, from the next step on as few.
    most = begun.replace(step=begun.step * 0 + every)
    fewest = begun.replace(step=begun.step * 0 + every + 1)

    def chunks() -> tuple[float, float]:
        """Seconds of n steps with their share of penalties, and of all that was run for it."""
        longer, share = _timed(run, most, n), n / every % 1
        if not share:  # whole rounds of them
            return longer, longer
        shorter = _timed(run, fewest, n)
        return shorter + (longer - shorter) * share, longer + shorter

    while (took := chunks())[1] < least / 2 and n < length:
        n = min(length, n * 4)
    found, spent = [took[0]], took[1]
    while spent < least:
        took = chunks()
        found, spent = [*found, took[0]], spent + took[1]
    a_step = max(sum(found) / len(found), 0.0) / n
    return a_step, max(0.0, started - first * a_step)


def _task_seconds(task: Task, gan: Gan) -> float:
    task.act(gan)  # which may compile
    return _timed(task.act, gan)


def _timed(act: Callable[..., object], *arguments: object) -> float:
    begin = time.perf_counter()
    act(*arguments)
    return time.perf_counter() - begin
