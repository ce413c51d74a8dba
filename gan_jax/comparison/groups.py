"""Groups of a system's members: each is a population in a folder of its own, and together they are made the system's.

Members are independent, so groups of them can be trained anywhere and in any order. On a CPU a member's bits do not
depend on its group; on an accelerator they do up to rounding, as members of one group share its operations.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gan_jax import workdir
from gan_jax.checkpoint import Arrays, Checkpoints
from gan_jax.comparison.scoring import join_scores
from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.loading import load_population
from gan_jax.population import Population
from gan_jax.population_run import to_keep, write_log
from gan_jax.report import LogRow, read_rows


class Group(NamedTuple):
    """Members of a system, and the folder of their population."""

    folder: Path
    configs: tuple[Config, ...]


def groups_of(folder: Path, configs: Sequence[Config], size: int) -> list[Group]:
    """A system's members in groups of `size`. What was begun before, whole or in other groups, goes on as it was.

    The folder's name says the size, so that whoever goes on, anywhere, finds the same groups. Raises `UserError` for
    a folder with groups of more members, which would be left behind.
    """
    if not (folder / "config.json").exists():
        begun = [path.name.removeprefix(workdir.GROUPS) for path in folder.glob(f"{workdir.GROUPS}*")]
        # Checkpoints of the system's own: it was trained whole, and its config.json was lost.
        lost = len(configs) if Checkpoints(folder / "checkpoints").steps else size
        size = next((int(text) for text in sorted(begun) if text.isdecimal() and int(text)), lost)
        parent = folder / f"{workdir.GROUPS}{size}"
        firsts = range(0, len(configs), size)
        there = [int(path.name) for path in parent.glob("[0-9]*") if path.name.isdecimal()]
        if more := [first for first in there if first not in firsts]:
            raise UserError(
                f"{folder} holds groups of more members, one of them from member {max(more)} on: give as many --seeds "
                "as before, or another --workdir."
            )
        if size < len(configs) or there:
            return [Group(parent / f"{first:05}", tuple(configs[first : first + size])) for first in firsts]
    return [Group(folder, tuple(configs))]


def join(
    folder: Path, configs: Sequence[Config], groups: Sequence[Group], warn: Callable[[str], object]
) -> Population:
    """One population of the groups, which are trained and scored, in the system's folder: as if never divided.

    Its config.json is written last: until it is there, the groups are what counts.
    """
    total = 0
    for group in groups:  # one after the other: all of them may not fit the memory twice
        population = load_population(group.folder, warn=warn)
        total = population.plan.total
        if population.configs != group.configs or population.step != total:
            raise UserError(
                f"{group.folder} holds other members than this comparison's: give another --workdir."
            )
    rows = [read_rows(group.folder / "metrics.jsonl", total) for group in groups]
    by_step = [{row["step"]: row for row in each} for each in rows]
    # A lost row is lost for all.
    steps = [step for step in by_step[0] if all(step in each for each in by_step)]
    log = [_joined([each[step] for each in by_step]) for step in steps]
    write_log(folder, log)
    facts = workdir.read(groups[0].folder).facts
    digest, often = workdir.digest(configs, facts), configs[0].keep_every
    with Checkpoints(folder / "checkpoints", write=True, keep_every=often, digest=digest) as checkpoints:
        for step, arrays in _states(groups, total):
            kept = [row for row in log if row["step"] <= step]
            checkpoints.save(arrays, step, log=to_keep(kept, len(configs)))
    join_scores([(group.folder, len(group.configs)) for group in groups], folder)
    workdir.write_population_config(folder, configs, facts)
    for group in groups:
        shutil.rmtree(group.folder)
    with contextlib.suppress(OSError):  # something that is not ours lies there
        groups[0].folder.parent.rmdir()
    return load_population(folder, warn=warn)


def _states(groups: Sequence[Group], total: int) -> Iterator[tuple[int, Arrays]]:
    """The arrays of all members together at each step of which all groups have a whole checkpoint, ascending.

    Not only the last: were it the one to be damaged, all would have to be trained again.
    """
    readers = [Checkpoints(group.folder / "checkpoints") for group in groups]
    for step in sorted(set.intersection(*(set(reader.steps) for reader in readers))):
        try:
            found = [restored for reader in readers if (restored := reader.restore(lambda text: None, step))]
        except UserError:
            if step == total:
                raise
            continue  # a damaged one
        yield step, {name: np.concatenate([arrays[name] for _, arrays in found]) for name in found[0][1]}


def _joined(rows: Sequence[LogRow]) -> LogRow:
    """The groups' rows of one step: what is a list holds a number a member."""
    lists = [name for name, value in rows[0].items() if isinstance(value, list)]
    return {**rows[0], **{name: [x for row in rows for x in row[name]] for name in lists}}
