"""What a machine of a cluster does for a comparison: train and score a group of members, or write the report.

The functions take plain data and leave what they make in the comparison's folder, which every machine sees. So a task
whose machine is lost is simply started again elsewhere: it goes on from the last checkpoint there, to the same bits.
"""

import functools
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax

from gan_jax import __version__, cli, compare, plugins
from gan_jax.comparison.scoring import scores_of
from gan_jax.comparison.systems import Options, systems_of
from gan_jax.errors import InUse, UserError
from gan_jax.population import Population
from gan_jax.population_run import train_population
from gan_jax.stopping import Stopped
from gan_jax.storage import write_atomically
from gan_jax.training import images_of

T = TypeVar("T")

# Seconds to wait for a folder. The task of a machine that is taken for lost may still be at work there; and a file
# server gives a lost machine's locks free when its lease ends, with NFS 4 after 90 seconds.
PATIENCE = 300
PROGRESS = ".progress"  # a file of the group's step and of how many have diverged, while it trains
VERSIONS = f"gan_jax {__version__} with JAX {jax.__version__}"


class Job(NamedTuple):
    """The comparison, as plain data. options: those that were given. here: the command's current folder."""

    options: dict[str, Any]
    here: str
    plugins: tuple[str, ...]
    versions: str


class Answer(NamedTuple):
    """What a task says. error: what the user can mend, if it failed; warnings: else lost in the machine's log."""

    error: str | None
    warnings: list[str]


class Interrupted(Exception):
    """The task's process was asked to end, as a machine that is taken away asks; what was done is saved."""


def train_group(job: Job, label: str, first: int, count: int, folder: str) -> Answer:
    """Train `count` members of a system, from number `first` on, in a folder of their own, and score them."""

    def act(options: Options, warn: Callable[[str], object]) -> None:
        systems = systems_of(options)
        configs = systems[label][first : first + count]
        origin = next(iter(systems.values()))[0]
        where, said = Path(folder) / PROGRESS, -1.0

        def show(population: Population) -> None:
            nonlocal said
            if time.monotonic() - said > 1 or population.step == population.plan.total:
                said = time.monotonic()
                write_atomically(where, f"{population.step} {int((population.diverged >= 0).sum())}")

        images, labels = images_of(origin)
        judge = _judge(origin.dataset, origin.data_dir, origin.image_size, origin.channels, options.num)
        try:
            population = patiently(
                lambda: train_population(Path(folder), configs, images, labels, warn=warn, show=show)
            )
            scores_of(population, judge, Path(folder))
        finally:
            where.unlink(missing_ok=True)

    return _answer(job, act)


def write_report(job: Job) -> Answer:
    """Do what the command does without a cluster: all is trained and scored, so what is left is the report."""
    return _answer(job, lambda options, warn: compare.compare(options))


_judge = functools.lru_cache(maxsize=1)(compare.judge)  # the next task in this process has the same


def patiently(act: Callable[[], T]) -> T:
    """What `act` returns, once no other process holds its folder. Raises `InUse` if that takes too long."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return act()
        except InUse:
            if time.monotonic() > end:
                raise
            time.sleep(1)


def _answer(job: Job, act: Callable[[Options, Callable[[str], object]], object]) -> Answer:
    warnings: list[str] = []
    try:
        if job.versions != VERSIONS:
            raise UserError(f"it has {VERSIONS}, and this one {job.versions}: install the same.")
        _enter(job)
        act(Options(**job.options), warnings.append)
    except Stopped as stopped:
        raise Interrupted(str(stopped)) from None
    except Exception as error:
        if (words := cli.explained(error)) is None:
            raise
        return Answer(_told(words), warnings)
    return Answer(None, warnings)


def _enter(job: Job) -> None:
    """Make this process one like the command's: its folder, its plugins, its cache of programs."""
    try:
        os.chdir(job.here)
    except OSError as error:
        raise UserError(
            f"{job.here}: {error.strerror}: run the command in a folder that every machine sees."
        ) from error
    for path in job.plugins:
        plugins.load_plugin(path)
    cli.use_compilation_cache()


def _told(error: object) -> str:
    return f"on the machine {socket.gethostname()}: {error}"
