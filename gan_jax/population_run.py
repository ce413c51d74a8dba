"""A population in a folder: trained there, saved, and gone on with to the same bits.

The folder holds `config.json` with the members' configs, `checkpoints/` of all of them together, and `metrics.jsonl`,
one object a chunk with a list for each metric, null for members that diverged. `gan_jax.load(folder, member=i)` takes
one out.
"""

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax import workdir
from gan_jax.checkpoint import Checkpoints
from gan_jax.config import Config, differing
from gan_jax.errors import InUse, UserError
from gan_jax.loading import restored_population
from gan_jax.parts import Facts, facts_of
from gan_jax.plan import plan
from gan_jax.population import Population, iterate
from gan_jax.report import LogRow, read_rows, with_lost
from gan_jax.state import to_arrays
from gan_jax.stopping import CHUNKS, Stopped, signals
from gan_jax.storage import locked, write_atomically

MOST_NUMBERS = 20_000  # of each metric, over the members and the rows of a log, in a checkpoint


def train_population(
    folder: Path,
    configs: Sequence[Config],
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    warn: Callable[[str], object],
    show: Callable[[Population], object] = lambda population: None,
) -> Population:
    """Train in `folder` to the end, or go on there; returns the population at its end.

    show: is given each chunk's population once it is done, and the one to begin with.

    Raises:
      UserError: for what cannot be trained, or a folder of another population; `InUse` for one that trains now.
      Stopped: after a signal; what was done before the chunk at hand is saved.
    """
    facts = facts_of(images, labels, conditional=configs[0].conditional)
    digest = workdir.digest(configs, facts)
    with (
        _claimed(folder, configs, facts),
        Checkpoints(
            folder / "checkpoints", write=True, keep_every=configs[0].keep_every, digest=digest
        ) as checkpoints,
    ):
        found = checkpoints.restore(warn)
        start = None if found is None else restored_population(configs, facts, found[1], found[0])
        if start is not None:
            checkpoints.set_aside_after(start.step)
            show(start)
        rows = _rows(folder, start, checkpoints, warn)
        population, saved = start, 0 if start is None else start.step

        def save(population: Population) -> None:
            # The log first: a run that goes on from this checkpoint finds the rows before it.
            write_log(folder, rows)
            kept = to_keep(rows, len(configs))
            checkpoints.save(to_arrays(population.real_members()), population.step, log=kept)

        with signals(words=CHUNKS) as received:
            for population in iterate(configs, images, labels, start, asked=lambda: bool(received)):
                rows.append(_row(population))
                show(population)
                if population.plan.saves(population.step) or population.step == population.plan.total:
                    save(population)
                    saved = population.step
                if received:
                    break
            if population is not None and population.step > saved:
                save(population)
        if received or population is None:  # also at its end: what would follow is another's turn, or scores
            done, total = (
                0 if population is None else population.step,
                plan(configs[0], facts.num_images).total,
            )
            raise Stopped(done, total, received[0])
    return population


def _rows(
    folder: Path, start: Population | None, checkpoints: Checkpoints, warn: Callable[[str], object]
) -> list[LogRow]:
    """The log up to the population to go on from; what is lost of it comes from the checkpoint."""
    if start is None:
        return []
    there = read_rows(folder / "metrics.jsonl", start.step)
    rows = with_lost(there, checkpoints.log(start.step), start.step, warn)
    if rows != there:
        write_log(folder, rows)
    return rows


def write_log(folder: Path, rows: Sequence[LogRow]) -> None:
    """Write `metrics.jsonl` anew."""
    write_atomically(folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def rows_of_member(folder: Path, step: int, member: int) -> list[LogRow]:
    """A member's own rows of a population's log, up to this step; without those that damage has left too short."""
    return [
        {name: value[member] if isinstance(value, list) else value for name, value in row.items()}
        for row in read_rows(folder / "metrics.jsonl", step)
        if all(len(value) > member for value in row.values() if isinstance(value, list))
    ]


def to_keep(rows: Sequence[LogRow], members: int) -> Sequence[LogRow]:
    """What a checkpoint keeps of the log: all of it, or of a long one some rows, evenly chosen."""
    return rows[:: 1 + len(rows) * members // MOST_NUMBERS]


def _row(population: Population) -> dict[str, Any]:
    values = {
        name: [None if math.isnan(x) else float(x) for x in row] for name, row in population.metrics.items()
    }
    return {"step": population.step, "epoch": population.plan.epoch(population.step), **values}


def check_same(folder: Path, configs: Sequence[Config], facts: Facts) -> None:
    """Raises `UserError` where the folder holds something other than this population, begun or not."""
    if not (folder / "config.json").exists():
        return
    record, remedy = workdir.read(folder), "give another --workdir, or the same values to go on."
    if record.alone:
        raise UserError(f"{folder} holds a single run: give another --workdir.")
    if len(record.configs) != len(configs):
        raise UserError(
            f"{folder} holds a population of {len(record.configs)}, not {len(configs)}: give another --workdir, or as "
            "many seeds as before."
        )
    for old, new in zip(record.configs, configs, strict=True):
        if found := differing(old, new):
            raise UserError(f"{folder} holds another population, differing in {found[0]}: {remedy}")
    if record.facts != facts:
        there, here = (
            f"{x.num_images} of {x.image_shape}, SHA-256 {x.sha256[:12]}…" for x in (record.facts, facts)
        )
        raise UserError(f"{folder} holds a population of other images ({there} there, {here} here): {remedy}")


@contextlib.contextmanager
def _claimed(folder: Path, configs: Sequence[Config], facts: Facts) -> Iterator[None]:
    """Hold the folder for this population alone. A new one then has its `config.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / ".lock"))
        except BlockingIOError as error:
            raise InUse(f"{folder} is in use: wait, or give another --workdir.") from error
        if not (folder / "config.json").exists():
            workdir.write_population_config(folder, configs, facts)
        check_same(folder, configs, facts)
        yield
