"""The same faults to comparisons: to populations, to systems whose members train in groups, and to what is written.

A case is the command of `gan_jax.compare` with two systems of two members; "in groups" has each member in a folder of
its own, as on a cluster, which are joined in the end.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from experiments.fault_campaign import cases, shim
from experiments.fault_campaign.campaign import Operations, state_of
from experiments.fault_campaign.cases import Ended, contents, fresh, run
from experiments.fault_campaign.judging import Verdict, failed, in_one_line
from experiments.fault_campaign.server import Client
from gan_jax import population_run
from gan_jax.checkpoint import UNFINISHED, Checkpoints
from gan_jax.storage import sha256_of_arrays
from gan_jax.workdir import GROUPS

SYSTEMS, SEEDS = ("hinge", "cross_entropy"), 2
STEPS, LOG_EVERY, CHECKPOINT_EVERY = 20, 5, 10
CASES = ("comparison", "comparison in groups")


class Result(NamedTuple):
    """What a comparison left: SHA-256 of each system's last state, its log, and the files beside them."""

    states: dict[str, tuple[int, str]]
    logs: dict[str, list[dict[str, Any]]]
    files: dict[str, bytes]


def arguments(data: Path, folder: Path) -> list[str]:
    """The command line."""
    length = [f"--steps={STEPS}", f"--log_every={LOG_EVERY}", f"--checkpoint_every={CHECKPOINT_EVERY}"]
    nets = ["--model=mlp", "--no_spectral_norm", "--penalty", "--batch_size=8", "--z_dim=8"]
    own = ["--systems", *SYSTEMS, f"--seeds={SEEDS}", "--num=40", f"--dataset={data}", f"--workdir={folder}"]
    return [*own, *length, *nets]


def begin(case: str, folder: Path) -> Path:
    """The folder before the first start: gone, or with that of the groups, which says how many members each has."""
    fresh(None, folder)
    if case.endswith("in groups"):
        for system in SYSTEMS:
            (folder / system / f"{GROUPS}1").mkdir(parents=True)
    return folder


def result(folder: Path) -> Result | None:
    """What is in the folder of a finished comparison; None if nothing can be read of it."""
    states, logs = {}, {}
    try:
        for system in SYSTEMS:
            with Checkpoints(folder / system / "checkpoints") as checkpoints:
                found = checkpoints.restore(lambda text: None)
            if found is None:
                return None
            states[system] = found[0], sha256_of_arrays(found[1])
            lines = (folder / system / "metrics.jsonl").read_text().splitlines()
            logs[system] = [json.loads(line) for line in lines]
        names = ["report.md", "results.json", "results.csv", "curves.png"]
        names += [f"{system}/{name}" for system in SYSTEMS for name in ("samples.png", "scores.json")]
        return Result(states, logs, {name: (folder / name).read_bytes() for name in names})
    except (OSError, ValueError):
        return None


def populations(folder: Path) -> Iterator[Path]:
    """The folder of each population that a comparison has yet to train, or has trained."""
    for system in SYSTEMS:
        groups = folder / system / f"{GROUPS}1"
        if groups.is_dir() and not (folder / system / "config.json").exists():
            yield from (groups / f"{first:05}" for first in range(SEEDS))
        else:
            yield folder / system


def lasting(folder: Path) -> dict[str, bytes]:
    """All files but those that a killed one left half-written, which the next one removes."""
    return {name: content for name, content in contents(folder).items() if UNFINISHED not in name}


class Comparisons:
    """Does faults in a folder of its own."""

    def __init__(self, root: Path, seed: int) -> None:
        """The comparisons that are compared with are made first, if they are not there yet."""
        self.root, self.seed = root, seed
        self.work = root / "work" / "comparison"
        self.args = arguments(cases.images(root), self.work)
        self.server = Client()
        self.recorded: dict[str, Operations] = {}
        for case in CASES:
            self._prepare(case)
            self._record(case)
        found, joined = (result(root / "whole" / case) for case in CASES)
        assert found is not None
        assert found == joined  # in groups or not, to the byte
        self.whole = found

    def _prepare(self, case: str) -> None:
        whole = self.root / "whole" / case
        if not whole.exists():
            begin(case, self.work)
            ended = run(self.args, "compare")
            assert ended.rc == 0, ended
            fresh(self.work, whole)

    def _record(self, case: str) -> None:
        record = self.root / f"{case}.record"
        if not record.exists():
            new = record.with_suffix(".new")
            begin(case, self.work)
            ended = self.ask(kind="record", to=str(new))
            assert ended.rc == 0, ended
            copy = begin(case, self.root / "replayed" / "comparison")
            shim.replay(shim.operations(new), str(self.work), str(copy))
            assert contents(copy) == contents(self.work)
            new.rename(record)
        self.recorded[case] = shim.operations(record)

    def ask(self, **fault: Any) -> Ended:
        """Have a process of its own run the command, with a fault."""
        return self.server.ask("compare", self.args, root=str(self.work), **fault)

    def part(self, case: str, stop: int, middle: float | None = None) -> None:
        """The folder of work as a kill after `stop` operations leaves it, or in the middle of the one that follows."""
        done = self.recorded[case][:stop]
        if middle is not None and (last := self.recorded[case][stop]).op == "W":
            done = [*done, last._replace(data=last.data[: int(middle * len(last.data))])]
        shim.replay(done, str(self.work), str(begin(case, self.work)))

    def resume(self, attempts: list[Ended]) -> Verdict:
        """Go on to the end in this process, and judge."""
        before = {folder: state_of(folder) for folder in populations(self.work)}
        there = lasting(self.work)
        chunks = 0
        row = population_run._row

        def counted(population: Any) -> dict[str, Any]:
            nonlocal chunks
            chunks += 1
            return row(population)

        population_run._row = counted
        try:
            ended = run(self.args, "compare")
        finally:
            population_run._row = row
        trained = chunks * LOG_EVERY
        again = max(trained - sum(STEPS - logged for logged, _ in before.values()), 0)
        needed = sum(STEPS - saved for _, saved in before.values())
        return judge(
            [*attempts, ended], self.work, lasting(self.work) == there, self.whole, again, trained - needed
        )


def judge(
    attempts: list[Ended], folder: Path, unchanged: bool, whole: Result, again: int, more: int
) -> Verdict:
    """The verdict on a comparison that was resumed: `attempts` are all, the last should have reached the end.

    unchanged: whether that one left the folder as it was. again: steps that were done again. more: steps that were
    trained and were in a checkpoint already.
    """
    for ended in attempts:
        if bad := failed(ended):
            return Verdict(bad, 0, ended.err[-1500:])
    last = attempts[-1]
    said = " | ".join(last.err.split("\n")).strip(" |")
    if last.rc == 2:
        return Verdict("refused" if unchanged and in_one_line(last) else "lost", 0, said[:300])
    now = result(folder)
    if now is None or now.states != whole.states:
        return Verdict("lost", again, f"another state at the end; {said[:300]}")
    if more > 0 and "damaged" not in said:
        return Verdict("lost", again, f"{more} steps that were saved were trained again")
    differing = [name for name in whole.files if now.files[name] != whole.files[name]]
    differing += [name for name in whole.logs if now.logs[name] != whole.logs[name]]
    if differing and not said:
        return Verdict("lost", again, f"{', '.join(differing)} differ, and nothing was said")
    return Verdict("repaired" if said else "same bits", again, said[:300])
