"""The table of a campaign: faults by what became of the runs."""

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax

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


def write(
    out: Path,
    done: Sequence[Done],
    kept: tuple[int, int, int],
    mutated: tuple[Mapping[str, tuple[int, int]], Sequence[str]],
    command: str,
) -> int:
    """Write fault_campaign.md; returns 1 if anything was lost.

    kept: kills, the steps of that run, and the steps done for it. mutated: by kind of input, how many mutations and how
    many of them were refused; and what went wrong.
    """
    (kills, steps, all_steps), (counts, wrong) = kept, mutated
    bad = [x for x in done if x.bad]
    lines = [
        "# Faults",
        "",
        f"{len(done)} faults over runs of {STEPS} steps with a checkpoint each {CHECKPOINT_EVERY} "
        f"({', '.join(CASES)}), each resumed to the end by the same command and compared with an undisturbed run: the "
        "last state to the bit, the log, and every picture.",
        "",
        f"    {command}",
        "",
        f"JAX {jax.__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}.",
        "",
        *_table(done),
        "",
        "*Same bits*: all is as in the undisturbed run, and nothing was said. *Repaired*: the last state has its bits, "
        "and what was damaged was said; where a picture or a row is gone for good, the exit code is 3. *Refused*: one "
        "line, exit code 2, and the folder is as it was. *Steps*: those that were done again, at most and on average.",
        "",
        f"**Goodput** at {kills} kills in a run of {steps} steps, with a checkpoint each 50: {steps / all_steps:.1%} "
        f"of {all_steps} steps count.",
        "",
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


def _table(done: Sequence[Done]) -> list[str]:
    lines = [
        "| fault | number | " + " | ".join(OUTCOMES) + " | steps |",
        "|---|" + "---:|" * (len(OUTCOMES) + 2),
    ]
    kinds = [kind for kind in DEEDS if any(x.kind == kind for x in done)]
    for kind in [*kinds, "all"]:
        some = [x for x in done if kind in (x.kind, "all")]
        count = Counter(x.outcome for x in some)
        again = f"{max(x.steps for x in some)}, {sum(x.steps for x in some) / len(some):.1f}"
        numbers = " | ".join(str(count[name] or "") for name in OUTCOMES)
        name = f"**{kind}**" if kind == "all" else kind
        lines.append(f"| {name} | {len(some)} | {numbers} | {again} |")
    return lines
