"""The same faults to comparisons: to populations, to systems whose members train in groups, and to what is written.

A case is the command of `gan_jax.compare` with two systems of two members; "in groups" has each member in a folder of
its own, as on a cluster, which are joined in the end.
"""

import json
import os
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.fault_campaign import cases, damage, shim
from experiments.fault_campaign.campaign import Fault, Operations, state_of
from experiments.fault_campaign.cases import Ended, contents, fresh, run
from experiments.fault_campaign.judging import Verdict, failed
from experiments.fault_campaign.server import Client
from gan_jax import population_run
from gan_jax.checkpoint import UNFINISHED, Checkpoints
from gan_jax.comparison.groups import PREFIX
from gan_jax.storage import sha256_of_arrays

SYSTEMS, SEEDS = ("hinge", "cross_entropy"), 2
STEPS, LOG_EVERY, CHECKPOINT_EVERY = 20, 5, 10
CASES = ("comparison", "comparison in groups")


class Result(NamedTuple):
    """What a comparison left: SHA-256 of each system's last state, its log, and the files beside them."""

    states: dict[str, tuple[int, str]]
    logs: dict[str, list[dict[str, Any]]]
    files: dict[str, bytes]


def arguments(data: Path, folder: Path, systems: Sequence[str]) -> list[str]:
    """The command line."""
    length = [f"--steps={STEPS}", f"--log_every={LOG_EVERY}", f"--checkpoint_every={CHECKPOINT_EVERY}"]
    nets = ["--model=mlp", "--no_spectral_norm", "--batch_size=8", "--z_dim=8"]
    own = ["--systems", *systems, f"--seeds={SEEDS}", "--num=40", f"--dataset={data}", f"--workdir={folder}"]
    return [*own, *length, *nets]


def begin(case: str, folder: Path, systems: Sequence[str]) -> Path:
    """The folder before the first start: gone, or with that of the groups, which says how many members each has."""
    fresh(None, folder)
    if case.endswith("in groups"):
        for system in systems:
            (folder / system / f"{PREFIX}1").mkdir(parents=True)
    return folder


def result(folder: Path, systems: Sequence[str]) -> Result | None:
    """What is in the folder of a finished comparison; None if nothing can be read of it."""
    states, logs = {}, {}
    try:
        for system in systems:
            with Checkpoints(folder / system / "checkpoints") as checkpoints:
                found = checkpoints.restore(lambda text: None)
            if found is None:
                return None
            states[system] = found[0], sha256_of_arrays(found[1])
            lines = (folder / system / "metrics.jsonl").read_text().splitlines()
            logs[system] = [json.loads(line) for line in lines]
        names = ["report.md", "results.json", "results.csv", "curves.png"]
        names += [f"{system}/{name}" for system in systems for name in ("samples.png", "scores.json")]
        return Result(states, logs, {name: (folder / name).read_bytes() for name in names})
    except (OSError, ValueError):
        return None


def populations(folder: Path, systems: Sequence[str]) -> Iterator[Path]:
    """The folder of each population that a comparison has yet to train, or has trained."""
    for system in systems:
        groups = folder / system / f"{PREFIX}1"
        if groups.is_dir() and not (folder / system / "config.json").exists():
            yield from (groups / f"{first:05}" for first in range(SEEDS))
        else:
            yield folder / system


def lasting(folder: Path) -> dict[str, bytes]:
    """All files but those that a killed one left half-written, which the next one removes."""
    return {name: content for name, content in contents(folder).items() if UNFINISHED not in name}


class Comparisons:
    """Does faults in a folder of its own."""

    def __init__(
        self,
        root: Path,
        seed: int,
        *,
        systems: Sequence[str] = SYSTEMS,
        cases_: Sequence[str] = CASES,
        record: bool = True,
    ) -> None:
        """The comparisons that are compared with are made first, if they are not there yet.

        record: their operations, too, by another process with the shim; without it nothing is killed.
        """
        self.root, self.seed, self.systems = root, seed, systems
        self.work = root / "work" / "comparison"
        self.args = arguments(cases.images(root), self.work, systems)
        self.server = Client()
        self.recorded: dict[str, Operations] = {}
        for case in cases_:
            self._prepare(case)
            if record:
                self._record(case)
        found, *others = [result(root / "whole" / case, systems) for case in cases_]
        assert found is not None
        assert all(found == other for other in others)  # in groups or not, to the byte
        self.whole = found

    def _prepare(self, case: str) -> None:
        whole = self.root / "whole" / case
        if not whole.exists():
            begin(case, self.work, self.systems)
            ended = run(self.args, "compare")
            assert ended.rc == 0, ended
            fresh(self.work, whole)

    def _record(self, case: str) -> None:
        record = self.root / f"{case}.record"
        if not record.exists():
            new = record.with_suffix(".new")
            begin(case, self.work, self.systems)
            ended = self.ask(kind="record", to=str(new))
            assert ended.rc == 0, ended
            copy = begin(case, self.root / "replayed" / "comparison", self.systems)
            shim.replay(shim.operations(new), str(self.work), str(copy))
            assert contents(copy) == contents(self.work)
            new.rename(record)
        self.recorded[case] = shim.operations(record)

    def ask(self, **fault: Any) -> Ended:
        """Have a process of its own run the command, with a fault."""
        return self.server.ask("compare", self.args, root=str(self.work), **fault)

    def do(self, fault: Fault, index: int) -> Verdict:
        """The fault, and what became of the comparison."""
        return DEEDS[fault.kind](self, fault, random.Random(f"{self.seed} {index}"))

    def part(self, case: str, stop: int, middle: float | None = None) -> None:
        """The folder of work as a kill after `stop` operations leaves it, or in the middle of the one that follows."""
        done = self.recorded[case][:stop]
        if middle is not None and (last := self.recorded[case][stop]).op == "W":
            done = [*done, last._replace(data=last.data[: int(middle * len(last.data))])]
        shim.replay(done, str(self.work), str(begin(case, self.work, self.systems)))

    def resume(self, attempts: list[Ended]) -> Verdict:
        """Go on to the end in this process, and judge."""
        before = {folder: state_of(folder) for folder in populations(self.work, self.systems)}
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
        *warnings, line = last.err.strip().splitlines() or [""]
        fine = unchanged and line.startswith("error: ") and all(w.startswith("warning: ") for w in warnings)
        return Verdict("refused" if fine else "lost", 0, said[:300])
    now = result(folder, list(whole.states))
    if now is None or now.states != whole.states:
        return Verdict("lost", again, f"another state at the end; {said[:300]}")
    if more > 0 and "damaged" not in said:
        return Verdict("lost", again, f"{more} steps that were saved were trained again")
    differing = [name for name in whole.files if now.files[name] != whole.files[name]]
    differing += [name for name in whole.logs if now.logs[name] != whole.logs[name]]
    if differing and not said:
        return Verdict("lost", again, f"{', '.join(differing)} differ, and nothing was said")
    return Verdict("repaired" if said else "same bits", again, said[:300])


def killed(all_: Comparisons, fault: Fault, rng: random.Random) -> Verdict:
    """The folder as a SIGKILL after `at` operations leaves it."""
    all_.part(fault.case, fault.at, rng.random() if "in the middle" in fault.kind else None)
    return all_.resume([])


def killed_at_random(all_: Comparisons, fault: Fault, rng: random.Random) -> Verdict:
    """A real SIGKILL to a process."""
    begin(fault.case, all_.work, all_.systems)
    return all_.resume([all_.ask(kind="kill", at=fault.at)])


def signalled(all_: Comparisons, fault: Fault, rng: random.Random) -> Verdict:
    """SIGTERM or SIGINT at some operation of a process."""
    begin(fault.case, all_.work, all_.systems)
    number = signal.SIGTERM if "SIGTERM" in fault.kind else signal.SIGINT
    ended = all_.ask(kind="signal", at=fault.at, signal=int(number))
    if ended.rc not in (0, 128 + number) and not failed(ended):
        return Verdict("lost", 0, f"exit code {ended.rc}: {ended.err[:300]}")
    return all_.resume([ended])


def failing(all_: Comparisons, fault: Fault, rng: random.Random) -> Verdict:
    """Operations fail: all from one on as on a full disk, or one alone."""
    begin(fault.case, all_.work, all_.systems)
    shim.arm(str(all_.work), "full" if "full" in fault.kind else "eio", at=fault.at)
    ended = run(all_.args, "compare")
    shim.arm("")
    return all_.resume([ended])


def harmed(all_: Comparisons, fault: Fault, rng: random.Random) -> Verdict:
    """A file is harmed, of a comparison that was killed or of a finished one."""
    finished = rng.random() < 0.4
    if finished:
        fresh(all_.root / "whole" / fault.case, all_.work)
    else:
        all_.part(fault.case, fault.at)
    name = damage.harm(all_.work, fault.kind.removeprefix(HARM), rng)
    verdict = all_.resume([])
    return verdict._replace(note=f"{name}{' of a finished one' if finished else ''}: {verdict.note}")


Deed = Callable[[Comparisons, Fault, random.Random], Verdict]
HARM = "a file of a comparison: "

DEEDS: dict[str, Deed] = {
    "a comparison killed at an operation": killed,
    "a comparison killed as its groups are joined": killed,
    "a comparison killed in the middle of a write": killed,
    "SIGKILL to a comparison's process": killed_at_random,
    "SIGTERM to a comparison": signalled,
    "SIGINT to a comparison": signalled,
    "a comparison's disk full from an operation on": failing,
    "a comparison's operation fails (EIO)": failing,
    **{f"{HARM}{kind}": harmed for kind in damage.KINDS},
}
# How many of each.
SHARES = {
    "a comparison killed at an operation": 24,
    "a comparison killed as its groups are joined": 16,
    "a comparison killed in the middle of a write": 8,
    "SIGKILL to a comparison's process": 3,
    "SIGTERM to a comparison": 2,
    "SIGINT to a comparison": 2,
    "a comparison's disk full from an operation on": 8,
    "a comparison's operation fails (EIO)": 8,
    **{f"{HARM}{kind}": 5 for kind in damage.KINDS},
}


def join_window(done: Operations) -> range:
    """The operations by which the groups of the first system are joined and removed."""
    own = f"{os.sep}{SYSTEMS[0]}{os.sep}"
    joined = [i for i, o in enumerate(done) if f"{own}metrics.jsonl" in o.path.replace(f"{own}.", own)]
    removed = [i for i, o in enumerate(done) if o.op == "D" and f"{own}{PREFIX}" in o.path]
    return range(joined[0], removed[-1] + 1)


def plan(all_: Comparisons) -> list[Fault]:
    """The faults in the proportions above, in random order."""
    rng, found = random.Random(all_.seed), []
    for kind, share in SHARES.items():
        for i in range(share):
            case = CASES[1] if "joined" in kind else CASES[i % len(CASES)]
            done = all_.recorded[case]
            places: Sequence[int] = join_window(done) if "joined" in kind else range(1, len(done))
            if "write" in kind:
                places = [j for j, o in enumerate(done) if o.op == "W"]
            found.append(Fault(kind, case, rng.choice(places)))
    rng.shuffle(found)
    return found
