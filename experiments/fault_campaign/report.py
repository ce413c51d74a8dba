"""The tables of a campaign: faults by what became of the runs."""

import json
import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax

from experiments.fault_campaign import comparison_faults, several
from experiments.fault_campaign import comparisons as comparisons_
from experiments.fault_campaign.campaign import DEEDS
from experiments.fault_campaign.cases import CASES, CHECKPOINT_EVERY, STEPS
from experiments.fault_campaign.judging import OUTCOMES
from gan_jax.storage import write_atomically


class Done(NamedTuple):
    """A fault and its verdict."""

    kind: str
    case: str
    at: int
    outcome: str
    steps: int
    note: str

    @property
    def bad(self) -> bool:
        """Whether the run was lost, or ended in a traceback or not at all."""
        return self.outcome in OUTCOMES[3:]


def read(log: Path) -> list[Done]:
    """What is in a log of faults."""
    return [Done(*json.loads(line)) for line in log.read_text().splitlines()] if log.exists() else []


def write(out: Path, root: Path, command: str) -> int:
    """Write fault_campaign.md of all that was done in `root` and, with other seeds, beside it.

    Returns 1 if anything was lost.
    """
    runs, comparisons, processes = (
        [x for log in sorted(root.parent.glob(f"seed-*/{name}.jsonl")) for x in read(log)]
        for name in ("results", "comparisons", "processes")
    )
    wrong, mutations = _mutations(root / "mutated.json")
    bad = [x for x in (*runs, *comparisons, *processes) if x.bad]
    lines = [
        "# Faults",
        "",
        f"    {command}",
        "",
        f"JAX {jax.__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}.",
        "",
        *_section(runs, _OF_RUNS, DEEDS),
        *_goodput(root / "goodput.json"),
        *_section(comparisons, _OF_COMPARISONS, comparison_faults.DEEDS),
        *_section(processes, _OF_PROCESSES, several.DEEDS),
        *mutations,
    ]
    if bad:
        lines += [
            "## Lost",
            "",
            *(f"- {x.kind}, {x.case}, {x.at}: {x.outcome}; {x.note[-400:]}" for x in bad),
            "",
        ]
    write_atomically(out / "fault_campaign.md", "\n".join(lines))
    print("\n".join(lines))
    return int(bool(bad or wrong))


_OUTCOMES = (
    "*Same bits*: all is as in the undisturbed one, and nothing was said. *Repaired*: the last state has its bits, and "
    "what was damaged was said; where a picture or a row of a run is gone for good, the exit code is 3. *Refused*: one "
    "line, exit code 2, and the folder is as it was. *Steps*: those that were done again, at most and on average."
)
_OF_RUNS = (
    "## {n} faults to runs",
    f"Runs of {STEPS} steps with a checkpoint each {CHECKPOINT_EVERY} ({', '.join(CASES)}), each resumed to the end by "
    "the same command and compared with an undisturbed run: the last state to the bit, the log, and every picture.",
    _OUTCOMES,
)
_OF_COMPARISONS = (
    "## {n} faults to comparisons",
    f"Of {len(comparisons_.SYSTEMS)} systems with {comparisons_.SEEDS} members each, {comparisons_.STEPS} steps, a "
    f"checkpoint each {comparisons_.CHECKPOINT_EVERY}; the members of a system train as one population, or in groups "
    "of one that are joined at the end. Each goes on by the same command, to the same states of all members, logs, "
    "scores, results.json, results.csv, report.md and pictures.",
    "*Steps* are those of populations. Nothing that was saved may be trained again unless it was damaged.",
)
_OF_PROCESSES = (
    "## {n} kills of a run's processes",
    "One of two processes is killed before some chunk; the other must end with one line and exit code 1, and both, "
    "started again, end as two that nobody disturbed: the same state to the bit, log and pictures. (Kills, signals and "
    "other numbers of processes one after the other are in tests/test_processes.py; a killed node of a Ray cluster is "
    "in tests/test_cluster.py.)",
)


def _section(done: Sequence[Done], words: Sequence[str], kinds: Iterable[str]) -> list[str]:
    if not done:
        return []
    title, text, *notes = words
    lines = [title.format(n=len(done)), "", text, "", *_table(done, kinds), ""]
    return [*lines, *(line for note in notes for line in (note, ""))]


def _goodput(path: Path) -> list[str]:
    if not path.exists():
        return []
    kills, steps, all_steps = json.loads(path.read_text())["found"]
    return [
        f"**Goodput** at {kills} kills in a run of {steps} steps, with a checkpoint each 50: {steps / all_steps:.1%} "
        f"of {all_steps} logged steps count; those of a chunk that a kill cut off are not among them.",
        "",
    ]


def _mutations(path: Path) -> tuple[list[str], list[str]]:
    """What went wrong, and the lines that say it all."""
    if not path.exists():
        return [], []
    counts, wrong = json.loads(path.read_text())["found"]
    lines = [
        f"## {sum(n for n, _ in counts.values())} mutations of what is read",
        "",
        "Each is read, or refused in one line, within 20 seconds and 256 MiB; all in one process.",
        "",
        "| input | mutations | refused | neither |",
        "|---|---:|---:|---:|",
        *(
            f"| {name} | {n} | {r} | {sum(w.startswith(name + ',') for w in wrong) or ''} |"
            for name, (n, r) in counts.items()
        ),
        "",
        *(f"- {w}" for w in wrong),
    ]
    return wrong, lines


def _table(done: Sequence[Done], all_kinds: Iterable[str]) -> list[str]:
    lines = [
        "| fault | number | " + " | ".join(OUTCOMES) + " | steps |",
        "|---|" + "---:|" * (len(OUTCOMES) + 2),
    ]
    kinds = [kind for kind in all_kinds if any(x.kind == kind for x in done)]
    for kind in [*kinds, "all"]:
        some = [x for x in done if kind in (x.kind, "all")]
        count = Counter(x.outcome for x in some)
        again = f"{max(x.steps for x in some)}, {sum(x.steps for x in some) / len(some):.1f}"
        numbers = " | ".join(str(count[name] or "") for name in OUTCOMES)
        name = f"**{kind}**" if kind == "all" else kind
        lines.append(f"| {name} | {len(some)} | {numbers} | {again} |")
    return lines
