"""What an ablation writes: a table of all changes, and every number."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.ablation.changes import BASE
from gan_jax import __version__
from gan_jax.comparison.spread import Difference, difference, spread
from gan_jax.evaluation.protocol import Evaluator
from gan_jax.storage import write_atomically

METRIC = "frechet_distance"


class Tried(NamedTuple):
    """A change on a data set: the config of the first seed, the steps, the seeds, their scores by metric, its cost.

    The scores of a seed that diverged are empty. cpu_seconds: None where a part of them was not recorded.
    """

    config: dict[str, Any]
    steps: int
    seeds: list[int]
    scores: list[dict[str, float]]
    cpu_seconds: float | None

    def values(self, metric: str) -> list[float]:
        """Of the seeds that did not diverge."""
        return [scores[metric] for scores in self.scores if scores]

    def __str__(self) -> str:
        cost = "" if self.cpu_seconds is None else f" in {self.cpu_seconds:.0f} s of CPU"
        return f"{_cell(self.values(METRIC))}{cost}"


Results = Mapping[str, Mapping[str, Tried]]  # by change, then data set


def write(out: Path, tried: Results, judges: Mapping[str, Evaluator], about: Mapping[str, Any]) -> None:
    """Write both files."""
    floors = {dataset: judge.floors() for dataset, judge in judges.items()}
    found = {name: Change.of(name, tried, floors) for name in tried}
    entries = {
        name: {
            "ratio": change.ratio,
            "verdict": change.verdict,
            "datasets": {
                dataset: {**tried[name][dataset]._asdict(), "minus_base": change.own[dataset]._asdict()}
                for dataset in judges
            },
        }
        for name, change in found.items()
    }
    protocols = {dataset: judge.name("METRIC") for dataset, judge in judges.items()}
    whole = {"gan_jax": __version__, **about, "protocols": protocols, "floors": floors, "changes": entries}
    write_atomically(out / "ablation.json", json.dumps(whole, indent=1) + "\n")
    write_atomically(out / "ablation.md", _table(tried, found, judges, floors, about))


class Change(NamedTuple):
    """What a change does: on each data set, and by the mean over them of the ratio to the floor.

    own: the Fréchet distance minus the base's. ratio: mean over the seeds, None if all diverged somewhere. all: the
    ratio minus the base's.
    """

    own: dict[str, Difference]
    ratio: float | None
    all: Difference
    lost: bool

    @property
    def verdict(self) -> str:
        """Better is what is so by the mean ratio, and worse on no data set: it may be adopted."""
        worse = any(found.sign > 0 for found in self.own.values())
        if self.lost or self.all.sign > 0:
            return "worse"
        if worse:
            return "worse on one"
        return "better" if self.all.sign < 0 else "–"

    @classmethod
    def of(cls, name: str, tried: Results, floors: Mapping[str, Mapping[str, float]]) -> "Change":
        """Over the seeds that diverged neither here nor in the base, on any data set."""
        both = [
            i
            for i in range(len(next(iter(tried[name].values())).scores))
            if all(tried[n][dataset].scores[i] for n in (name, BASE) for dataset in floors)
        ]
        of = lambda n, dataset: [tried[n][dataset].scores[i][METRIC] for i in both]
        ratio_of = lambda n, dataset: np.array(of(n, dataset)) / floors[dataset][METRIC]
        ratios = lambda n: np.mean([ratio_of(n, dataset) for dataset in floors], axis=0).tolist()
        own = {dataset: difference(of(name, dataset), of(BASE, dataset)) for dataset in floors}
        lost = any(not scores for found in tried[name].values() for scores in found.scores)
        ratio = float(np.mean(ratios(name))) if both else None
        return cls(own, ratio, difference(ratios(name), ratios(BASE)), lost)


def _table(
    tried: Results,
    found: Mapping[str, Change],
    judges: Mapping[str, Evaluator],
    floors: Mapping[str, Mapping[str, float]],
    about: Mapping[str, Any],
) -> str:
    names = {dataset: judge.dataset for dataset, judge in judges.items()}
    first, last = about["seeds"]
    lines = [
        f"# One change at a time: {about['base']}, seeds {first} to {last}",
        "",
        f"Mean ± standard deviation over the seeds, after as many images as in {about['steps']:,} steps of the base: "
        + " and ".join(judge.name(METRIC) for judge in judges.values())
        + ". In brackets the difference to the base with its 95% interval (paired bootstrap). A ratio is the mean over "
        "the data sets of the distance as a multiple of its floor, that of real train images.",
        "",
        "| change | steps | "
        + " | ".join(f"{name}: Fréchet | recall" for name in names.values())
        + " | ratio | difference | CPU minutes | verdict |",
        "|---" * (6 + 2 * len(names)) + "|",
    ]
    for name, change in found.items():
        cells = []
        for dataset in names:
            one = tried[name][dataset]
            interval = "" if name == BASE else f" ({_interval(change.own[dataset])})"
            cells += [_cell(one.values(METRIC)) + interval, _cell(one.values("recall"))]
        ratio = "–" if change.ratio is None else f"{change.ratio:.3g}"
        costs = [one.cpu_seconds for one in tried[name].values()]
        minutes = "–" if None in costs else f"{sum(filter(None, costs)) / 60:.1f}"
        steps = next(iter(tried[name].values())).steps
        verdict = ["", ""] if name == BASE else [_interval(change.all), change.verdict]
        lines.append(
            f"| {name} | {steps:,} | {' | '.join(cells)} | {ratio} | {verdict[0]} | {minutes} | {verdict[1]} |"
        )
    real = [f"{floors[dataset][metric]:.3g}" for dataset in names for metric in (METRIC, "recall")]
    lines.append(f"| real train images | | {' | '.join(real)} | 1 | | | |")
    return "\n".join(lines) + "\n"


def _cell(values: Sequence[float]) -> str:
    found = spread(values)
    if found is None:
        return "diverged"
    return f"{found.mean:.3g}" + ("" if found.sd is None else f" ± {found.sd:.2g}")


def _interval(found: Difference) -> str:
    if found.n == 0:
        return "–"
    if found.interval is None:
        return f"{found.mean:+.3g}"
    return f"{found.mean:+.3g} [{found.interval[0]:+.2g}, {found.interval[1]:+.2g}]"
