"""What is done to comparisons: kills, signals, failing disks and harm to files, each gone on with and judged."""

import os
import random
import signal
from collections.abc import Callable, Sequence

from experiments.fault_campaign import damage, shim
from experiments.fault_campaign.campaign import Fault, Operations
from experiments.fault_campaign.cases import fresh, run
from experiments.fault_campaign.comparisons import CASES, SYSTEMS, Comparisons, begin
from experiments.fault_campaign.judging import Verdict, failed
from gan_jax.workdir import GROUPS


def killed(all_: Comparisons, fault: Fault, rng: random.Random) -> Verdict:
    """The folder as a SIGKILL after `at` operations leaves it."""
    all_.part(fault.case, fault.at, rng.random() if "in the middle" in fault.kind else None)
    return all_.resume([])


def killed_at_random(all_: Comparisons, fault: Fault, rng: random.Random) -> Verdict:
    """A real SIGKILL to a process."""
    begin(fault.case, all_.work)
    return all_.resume([all_.ask(kind="kill", at=fault.at)])


def signalled(all_: Comparisons, fault: Fault, rng: random.Random) -> Verdict:
    """SIGTERM or SIGINT at some operation of a process."""
    begin(fault.case, all_.work)
    number = signal.SIGTERM if "SIGTERM" in fault.kind else signal.SIGINT
    ended = all_.ask(kind="signal", at=fault.at, signal=int(number))
    if ended.rc not in (0, 128 + number) and not failed(ended):
        return Verdict("lost", 0, f"exit code {ended.rc}: {ended.err[:300]}")
    return all_.resume([ended])


def failing(all_: Comparisons, fault: Fault, rng: random.Random) -> Verdict:
    """Operations fail: all from one on as on a full disk, or one alone."""
    begin(fault.case, all_.work)
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


def do(all_: Comparisons, fault: Fault, index: int) -> Verdict:
    """The fault, and what became of the comparison."""
    return DEEDS[fault.kind](all_, fault, random.Random(f"{all_.seed} {index}"))


def join_window(done: Operations) -> range:
    """The operations by which the groups of the first system are joined and removed."""
    own = f"{os.sep}{SYSTEMS[0]}{os.sep}"
    joined = [i for i, o in enumerate(done) if f"{own}metrics.jsonl" in o.path.replace(f"{own}.", own)]
    removed = [i for i, o in enumerate(done) if o.op == "D" and f"{own}{GROUPS}" in o.path]
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
