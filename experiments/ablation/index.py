"""All that was tried, a line each: writes experiments/results/ablation.md from the records beside it.

    python -m experiments.ablation.index

Run it after a record has come to them, or has changed.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.ablation.changes import BASE
from experiments.ablation.results import interval_cell, number
from gan_jax import cli
from gan_jax.storage import write_atomically

RESULTS = Path(__file__).parent.parent / "results"
PAGE = RESULTS / "ablation.md"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """There are none."""


def records() -> dict[str, dict[str, Any]]:
    """By the name of their page."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("ablation_*.json"))}


def page(found: Mapping[str, Mapping[str, Any]]) -> str:
    """One line for each change of each record."""
    lines = [
        "# One change at a time: all that was tried over seeds",
        "",
        "Each change to a system is trained over seeds, and judged by images that no GAN has seen. A ratio is the mean "
        "over the data sets, MNIST and Fashion-MNIST, of the Fréchet distance as a multiple of that of real train "
        "images; the difference to the system's has its 95% interval, where there are three seeds or more. "
        "With – the seeds do not tell. Most runs are much shorter than the system's own, and what is better or worse "
        "so early may not be at its full length. The pages have distances, recalls and costs.",
        "",
        "| system | change | steps of the system | seeds | ratio, system | ratio, changed | difference | verdict |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, record in found.items():
        changes = record["changes"]
        first, last = record["seeds"]
        for change, values in changes.items():
            if change != BASE:
                cells = (
                    f"[`{record['base']}`]({name}.md)",
                    f"`{change}`",
                    f"{record['steps']:,}",
                    f"{last - first + 1}",
                    number(changes[BASE]["ratio"]),
                    number(values["ratio"]),
                    interval_cell(values["ratio_minus_base"]),
                    values["verdict"],
                )
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(args: Sequence[str]) -> None:
    """The command."""
    cli.parse(Options, args, prog="python -m experiments.ablation.index", description=__doc__ or "")
    write_atomically(PAGE, page(records()))
    print(f"Written: {PAGE}")


if __name__ == "__main__":
    cli.run(main)
