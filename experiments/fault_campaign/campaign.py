"""The faults, one by one: each is done to a run, which is then resumed to its end and judged."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from experiments.fault_campaign import cases, damage, shim
from experiments.fault_campaign.cases import CASES, Ended, Result, arguments, contents, fresh, run
from experiments.fault_campaign.judging import Verdict, failed, judge
from experiments.fault_campaign.server import Client
from gan_jax.checkpoint import Checkpoints
from gan_jax.report import read_rows

Operations = list[shim.Operation]


class Fault(NamedTuple):
    """What is done to which case; `at` is the place of those that have one, else 0."""

    kind: str
    case: str
    at: int


class Campaign:
    """Does faults in a folder of its own."""

    def __init__(self, root: Path, seed: int) -> None:
        """The runs that are compared with are made first, if they are not there yet."""
        self.root, self.seed = root, seed
        self.data, self.work = cases.images(root), root / "work" / "run"
        self._server = Client()
        self.whole: dict[str, Result] = {}
        self.recorded: dict[str, Operations] = {}
        for case in CASES:
            self._prepare(case)

    def _prepare(self, case: str) -> None:
        """The finished run, the operations of one in another process, and the one that was killed at half its steps."""
        record, whole, half = (
            self.root / f"{case}.record",
            self.root / "whole" / case,
            self.root / "half" / case,
        )
        if not whole.exists():
            ended = run(arguments(case, self.data, fresh(None, self.work)))
            assert ended.rc == 0, ended
            fresh(self.work, whole)
        if not record.exists():
            new = record.with_suffix(".new")
            ended = self.ask(arguments(case, self.data, fresh(None, self.work)), kind="record", to=str(new))
            assert ended.rc == 0, ended
            copy = self.root / "replayed" / "run"
            shim.replay(shim.operations(new), str(self.work), str(fresh(None, copy)))
            assert contents(copy) == contents(self.work)  # so a part of them is what a kill leaves
            new.rename(record)
        self.recorded[case] = shim.operations(record)
        stop = save_window(self.recorded[case]).stop
        shim.replay(self.recorded[case][:stop], str(self.work), str(fresh(None, half)))
        found = cases.result(whole)
        assert found is not None
        self.whole[case] = found

    def ask(self, args: list[str], env: dict[str, str] | None = None, **fault: Any) -> Ended:
        """Have a process of its own run the command, with a fault."""
        return self._server.ask("train", args, env, root=str(self.work), **fault)

    def do(self, fault: Fault, index: int) -> Verdict:
        """The fault, and what became of the run."""
        return DEEDS[fault.kind](self, fault, random.Random(f"{self.seed} {index}"))

    def args(self, case: str) -> list[str]:
        """The command that is given again and again."""
        return arguments(case, self.data, self.work)

    def resume(self, case: str, attempts: list[Ended], folder: Path | None = None) -> Verdict:
        """Go on to the end in this process, and judge."""
        folder = folder or self.work
        before, there = state_of(folder), contents(folder)
        ended = run(arguments(case, self.data, folder))
        return judge([*attempts, ended], folder, contents(folder) == there, self.whole[case], before)

    def start(self, case: str, rng: random.Random) -> None:
        """The folder of work: a new one or one at half the steps."""
        fresh(self.root / "half" / case if rng.random() < 0.5 else None, self.work)


def state_of(folder: Path) -> tuple[int, int]:
    """The last step in the log and that of the newest checkpoint."""
    try:
        rows = read_rows(folder / "metrics.jsonl", 10**9)
    except OSError:
        rows = []
    return rows[-1]["step"] if rows else 0, max(Checkpoints(folder / "checkpoints").steps, default=0)


def save_window(done: Operations) -> range:
    """The operations of a run's second save, from the first folder that it makes to the last old file removed."""
    touching = [i for i, o in enumerate(done) if f"checkpoints/{2 * cases.CHECKPOINT_EVERY}" in o.path]
    return range(touching[0], touching[-1] + 2)


def killed(campaign: Campaign, fault: Fault, rng: random.Random) -> Verdict:
    """The folder as a SIGKILL after `at` operations leaves it."""
    done = campaign.recorded[fault.case][: fault.at]
    if "in the middle" in fault.kind and (last := campaign.recorded[fault.case][fault.at]).op == "W":
        done = [*done, last._replace(data=last.data[: rng.randrange(len(last.data) or 1)])]
    shim.replay(done, str(campaign.work), str(fresh(None, campaign.work)))
    return campaign.resume(fault.case, [])


def killed_at_random(campaign: Campaign, fault: Fault, rng: random.Random) -> Verdict:
    """A real SIGKILL to a process, anywhere from its start to its end."""
    campaign.start(fault.case, rng)
    at = rng.randrange(1, len(campaign.recorded[fault.case]) * 5 // 4)
    return campaign.resume(fault.case, [campaign.ask(campaign.args(fault.case), kind="kill", at=at)])


def signalled(campaign: Campaign, fault: Fault, rng: random.Random) -> Verdict:
    """SIGTERM, SIGINT or SIGHUP at some operation of a process."""
    campaign.start(fault.case, rng)
    at, number = rng.randrange(1, 400), getattr(signal, fault.kind)
    ended = campaign.ask(campaign.args(fault.case), kind="signal", at=at, signal=int(number))
    if ended.rc not in (0, 128 + number) and not failed(ended):
        return Verdict("lost", 0, f"exit code {ended.rc}: {ended.err[:300]}")
    return campaign.resume(fault.case, [ended])


def failing(campaign: Campaign, fault: Fault, rng: random.Random) -> Verdict:
    """Operations fail: all from one on as on a full disk, or one alone."""
    campaign.start(fault.case, rng)
    kind = "full" if "full" in fault.kind else "eio"
    shim.arm(str(campaign.work), kind, at=rng.randrange(1, 400))
    ended = run(campaign.args(fault.case))
    shim.arm("")
    return campaign.resume(fault.case, [ended])


@contextlib.contextmanager
def mounted(campaign: Campaign, options: str) -> Iterator[Callable[[str], object]]:
    """A small file system under the folder of work; yields what remounts it with other options."""
    disk = campaign.work.parent
    mount = lambda *args: subprocess.run(["mount", *args], check=True)
    subprocess.run(["umount", "-l", str(disk)], capture_output=True)  # of a campaign that was killed
    fresh(None, disk).mkdir()
    mount("-t", "tmpfs", "-o", options, "none", str(disk))
    try:
        yield lambda others: mount("-o", f"remount,{others}", str(disk))
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)  # lazily: a thread may still hold a file


def full_disk(campaign: Campaign, fault: Fault, rng: random.Random) -> Verdict:
    """A file system of a few hundred kilobytes to a few megabytes, which is later made larger."""
    with mounted(campaign, f"size={rng.randrange(100, 6000)}k") as remount:
        first = run(campaign.args(fault.case))
        remount("size=200m")
        return campaign.resume(fault.case, [first])


def read_only(campaign: Campaign, fault: Fault, rng: random.Random) -> Verdict:
    """The disk comes back read-only, and is then mended."""
    with mounted(campaign, "size=200m") as remount:
        fresh(campaign.root / "half" / fault.case, campaign.work)
        remount("ro")
        there = contents(campaign.work)
        first = run(campaign.args(fault.case))
        if first.rc != 2 or contents(campaign.work) != there:
            return Verdict("lost", 0, f"{first.rc} {first.err[:300]}")
        remount("rw")
        return campaign.resume(fault.case, [first])


def clock(campaign: Campaign, fault: Fault, rng: random.Random) -> Verdict:
    """The clock goes back a day in the middle of a run."""
    campaign.start(fault.case, rng)
    shim.arm(str(campaign.work), "clock", at=rng.randrange(1, 300))
    verdict = campaign.resume(fault.case, [])
    shim.arm("")
    return verdict


def moved(campaign: Campaign, fault: Fault, rng: random.Random) -> Verdict:
    """The folder is moved or copied while nobody trains in it, times and all or without."""
    fresh(campaign.root / "half" / fault.case, campaign.work)
    target = campaign.root / "elsewhere" / "run"
    fresh(None, target.parent).mkdir()
    if rng.random() < 0.5:
        campaign.work.rename(target)
    else:
        shutil.copytree(campaign.work, target, copy_function=shutil.copyfile)
    return campaign.resume(fault.case, [], target)


def harmed(campaign: Campaign, fault: Fault, rng: random.Random) -> Verdict:
    """A file of the folder is harmed, of a run at half its steps or of a finished one."""
    half = rng.random() < 0.75
    fresh(campaign.root / ("half" if half else "whole") / fault.case, campaign.work)
    name = damage.harm(campaign.work, fault.kind, rng)
    verdict = campaign.resume(fault.case, [])
    return verdict._replace(note=f"{name}{'' if half else ' of the finished run'}: {verdict.note}")


def cache_harmed(campaign: Campaign, fault: Fault, rng: random.Random) -> Verdict:
    """A file of the cache folder is harmed, and a process of its own goes on from half the steps."""
    cache = fresh(Path(os.environ["XDG_CACHE_HOME"]), campaign.root / "harmed cache")
    name = damage.harm(cache, rng.choice(damage.KINDS[:4]), rng)
    fresh(campaign.root / "half" / fault.case, campaign.work)
    before = state_of(campaign.work)
    ended = campaign.ask(campaign.args(fault.case), env={"XDG_CACHE_HOME": str(cache)})
    verdict = judge([ended], campaign.work, False, campaign.whole[fault.case], before)
    return verdict._replace(note=f"{name}: {verdict.note}")


Deed = Callable[[Campaign, Fault, random.Random], Verdict]

DEEDS: dict[str, Deed] = {
    "killed at each operation of a save": killed,
    "killed at an operation": killed,
    "killed in the middle of a write": killed,
    "SIGKILL to a process": killed_at_random,
    **dict.fromkeys(("SIGTERM", "SIGINT", "SIGHUP"), signalled),
    "disk full from an operation on": failing,
    "one operation fails (EIO)": failing,
    "a full disk, then a larger one": full_disk,
    "a disk that is read-only": read_only,
    "a clock that goes back": clock,
    "moved or copied while idle": moved,
    **dict.fromkeys(damage.KINDS, harmed),
    "a damaged file of the cache": cache_harmed,
}

# How many of each, of about 550; those at each operation of a save are as many as it has.
SHARES = {
    "killed at an operation": 90,
    "killed in the middle of a write": 40,
    "SIGKILL to a process": 10,
    "SIGTERM": 4,
    "SIGINT": 4,
    "SIGHUP": 4,
    "disk full from an operation on": 40,
    "one operation fails (EIO)": 40,
    "a full disk, then a larger one": 12,
    "a disk that is read-only": 3,
    "a clock that goes back": 6,
    "moved or copied while idle": 8,
    "flipped bit": 60,
    "truncated": 40,
    "deleted": 40,
    "zeros": 25,
    "swapped": 25,
    "alien": 30,
    "a folder instead": 15,
    "a damaged file of the cache": 8,
}


def plan(campaign: Campaign, num: int, mounting: bool) -> list[Fault]:
    """`num` faults in the proportions above, in random order; fewer where file systems cannot be mounted."""
    rng, names = random.Random(campaign.seed), list(CASES)
    window = save_window(campaign.recorded[names[0]])
    found = [Fault("killed at each operation of a save", names[0], at) for at in window]
    for kind, share in SHARES.items():
        for i in range(share):
            case = names[i % len(names)]
            done = campaign.recorded[case]
            writes = [j for j, o in enumerate(done) if o.op == "W"]
            found.append(
                Fault(kind, case, rng.choice(writes) if "write" in kind else rng.randrange(len(done)))
            )
    if not mounting:
        found = [f for f in found if DEEDS[f.kind] not in (full_disk, read_only)]
    rng.shuffle(found)
    return found[:num]
