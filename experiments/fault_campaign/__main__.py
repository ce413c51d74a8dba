"""Hundreds of faults, each resumed to the end and compared to the bit with an undisturbed run.

    python -m experiments.fault_campaign
    python -m experiments.fault_campaign --faults=60 --seed=2
    python -m experiments.fault_campaign --parts comparisons processes

Kills, signals, failing and full disks, and harm to every file of a run's and of the cache folder, over short runs of
`mlp` and of `conv_small`; the same to comparisons, whole and in groups; kills of one of a run's processes; and
mutations of every file that is read and of every command line. Needs Linux and a C
compiler; as root it also mounts small disks. A campaign that is stopped goes on where it was. Writes fault_campaign.md
to experiments/results/; exits 1 if a run was lost or a traceback shown. Expect half an hour of one core.

A SIGKILL is done to real processes, too, but mostly replayed: a run's operations on files are recorded once, and any
first part of them is what a kill leaves there. That all of them make the run's very folder is checked.

Its short form is tests/test_fault_campaign.py: 35 s of CPU time; 180 s with all that the suite asks of this subject, in
tests/test_{hostile,faults,stopping,environment,checkpoint,reference_losses}.py.
"""

import dataclasses
import functools
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gan_jax import cli
from gan_jax.errors import unknown
from gan_jax.options import COUNT, PATH, SEED, Rule, check, option
from gan_jax.storage import expanded, write_atomically

FLAGS = "--xla_force_host_platform_device_count=1 --xla_backend_optimization_level=0"  # compiled in seconds


def _part(name: Any) -> str:
    if name not in PARTS:
        raise unknown("part", name, PARTS)
    return str(name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How many faults, and where to."""

    faults: int = option(100_000, "Do at most this many of each part, chosen at random.", COUNT)
    mutations: int = option(10_000, "Mutations of files and command lines.", COUNT)
    parts: tuple[str, ...] = option(
        ("runs", "goodput", "mutations", "comparisons", "processes"),
        "What to do: faults to runs, ten kills of one run, mutations of what is read, faults to comparisons, kills of "
        "the processes of one run.",
        Rule("", _part, metavar="PART"),
        many=True,
    )
    seed: int = option(0, "Seed of all that is random.", SEED)
    workdir: str = option("runs/fault_campaign", "Folder to work in; rerun with the same to go on.", PATH)
    out: str = option("experiments/results", "Folder to write to.", PATH)

    def __post_init__(self) -> None:
        """Check every field. Raises `UserError`."""
        check(self)


def main(args: Sequence[str]) -> int:
    """The command. Returns the exit code."""
    options = cli.parse(Options, args, prog="python -m experiments.fault_campaign", description=__doc__ or "")
    root = expanded(options.workdir).resolve() / f"seed-{options.seed}"
    root.mkdir(parents=True, exist_ok=True)
    expanded(options.out).mkdir(parents=True, exist_ok=True)  # before the hours, and not after them
    if os.environ.get("FAULT_CAMPAIGN") != "1":
        return _again(root)
    from experiments.fault_campaign.report import write

    for part in options.parts:
        PARTS[part](root, options)
    # All seeds that were done in this folder make one table.
    seeds = sorted(path.name.removeprefix("seed-") for path in root.parent.glob("seed-*"))
    flags = shlex.join(arg for arg in args if not arg.startswith(("--seed", "--workdir", "--out")))
    command = (
        f"for seed in {' '.join(seeds)}; do python -m experiments.fault_campaign --seed=$seed {flags}; done"
    )
    command = command.replace(" ; done", "; done")
    return write(expanded(options.out), root, command)


def _runs(root: Path, options: Options) -> None:
    from experiments.fault_campaign.campaign import Campaign, plan

    campaign = Campaign(root, options.seed)
    _do_all(root / "results.jsonl", plan(campaign, options.faults, _mounts()), campaign.do)


def _goodput(root: Path, options: Options) -> None:
    from experiments.fault_campaign.campaign import Campaign
    from experiments.fault_campaign.goodput import goodput

    _keep(root / "goodput.json", 1, lambda: goodput(Campaign(root, options.seed)))


def _hostile(root: Path, options: Options) -> None:
    from experiments.fault_campaign import hostile
    from experiments.fault_campaign.campaign import Campaign
    from experiments.fault_campaign.cases import CASES

    Campaign(root, options.seed)  # which makes the run whose checkpoints are taken
    source = root / "half" / next(iter(CASES)) / "checkpoints"
    num = options.mutations
    _keep(root / "mutated.json", num, lambda: hostile.sweep(root / "mutated", source, num))


def _comparisons(root: Path, options: Options) -> None:
    from experiments.fault_campaign.comparison_faults import do, plan
    from experiments.fault_campaign.comparisons import Comparisons

    comparisons = Comparisons(root, options.seed)
    _do_all(
        root / "comparisons.jsonl", plan(comparisons)[: options.faults], functools.partial(do, comparisons)
    )


def _processes(root: Path, options: Options) -> None:
    from experiments.fault_campaign.several import Several, plan

    _do_all(root / "processes.jsonl", plan(options.seed)[: options.faults], Several(root).do)


PARTS: dict[str, Callable[[Path, Options], None]] = {
    "runs": _runs,
    "goodput": _goodput,
    "mutations": _hostile,
    "comparisons": _comparisons,
    "processes": _processes,
}


def _do_all(log: Path, faults: Sequence[Any], do: Callable[[Any, int], Any]) -> None:
    """Do the faults that are not in the log yet. What was lost is tried again, which shows whether it was mended."""
    from experiments.fault_campaign.report import Done, read

    done = read(log)
    for index, fault in enumerate(faults):
        if index < len(done) and not done[index].bad:
            continue
        done[index : index + 1] = [Done(*fault, *do(fault, index))]
        write_atomically(log, "".join(json.dumps(x) + "\n" for x in done))
        print(f"{index + 1}/{len(faults)} {fault.kind}, {fault.case}: {done[index].outcome}", flush=True)


def _keep(path: Path, num: int, make: Callable[[], Any]) -> None:
    """Have what `make` gives in the file, unless that of so many is there."""
    if not path.exists() or json.loads(path.read_text())["num"] != num:
        write_atomically(path, json.dumps({"num": num, "found": make()}))


def _again(root: Path) -> int:
    """The campaign in a process with the shim, on one device, with a cache of its own."""
    from experiments.fault_campaign import shim

    env = {"LD_PRELOAD": str(shim.build(root)), "XDG_CACHE_HOME": str(root / "cache"), "XLA_FLAGS": FLAGS}
    env |= {"FAULT_CAMPAIGN": "1", "JAX_PLATFORMS": "cpu", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "experiments.fault_campaign", *sys.argv[1:]]
    return subprocess.run(command, env={**os.environ, **env}).returncode


def _mounts() -> bool:
    """Whether a small file system can be mounted here."""
    with tempfile.TemporaryDirectory() as folder:
        tried = subprocess.run(["mount", "-t", "tmpfs", "none", folder], capture_output=True)
        if tried.returncode == 0:
            subprocess.run(["umount", folder], check=True)
    return tried.returncode == 0


if __name__ == "__main__":
    cli.run(main)
