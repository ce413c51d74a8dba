"""What an ablation writes: a table of all changes, and every number."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.ablation.changes import BASE
from gan_jax import __version__, data
from gan_jax.comparison.spread import Difference, difference, spread
from gan_jax.evaluation.protocol import Evaluator
from gan_jax.evaluation.scores import LABEL_ACCURACY
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

    def __str__(self) -> str:
        cost = "" if self.cpu_seconds is None else f" in {self.cpu_seconds:.0f} s of CPU"
        return f"{_cell([scores[METRIC] for scores in self.scores if scores])}{cost}"


Results = Mapping[str, Mapping[str, Tried]]  # by change, then data set


def write(out: Path, tried: Results, judges: Mapping[str, Evaluator], about: Mapping[str, Any]) -> None:
    """Write both files."""
    floors = {dataset: judge.floors() for dataset, judge in judges.items()}
    found = {name: Change.of(name, tried, floors) for name in tried}
    entries = {
        name: {
            "ratio": change.ratio,
            "ratio_minus_base": change.all._asdict(),
            "verdict": change.verdict,
            "datasets": {
                dataset: {**tried[name][dataset]._asdict(), "minus_base": change.own[dataset]._asdict()}
                for dataset in judges
            },
        }
        for name, change in found.items()
    }
    whole = {
        "gan_jax": __version__,
        **about,
        "protocols": protocols_of(judges),
        "floors": floors,
        "changes": entries,
    }
    write_atomically(out / "ablation.json", json.dumps(whole, indent=1) + "\n")
    write_atomically(out / "ablation.md", table(whole))


def protocols_of(judges: Mapping[str, Evaluator]) -> dict[str, str]:
    """By what the samples are judged, by data set."""
    return {dataset: judge.name("METRIC") for dataset, judge in judges.items()}


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


def table(record: Mapping[str, Any]) -> str:
    """The page of what `ablation.json` holds."""
    names = {dataset: data.dataset_name(dataset) for dataset in record["floors"]}
    first, last = record["seeds"]
    # Of bases with labels, where the network that judges knows the classes.
    ones = [one for change in record["changes"].values() for one in change["datasets"].values()]
    asked = ["class asked for, %"] if any(LABEL_ACCURACY in x for one in ones for x in one["scores"]) else []
    lines = [
        f"# One change at a time: {record['base']}, seeds {first} to {last}",
        "",
        f"Mean ± standard deviation over the seeds, after as many images as in {record['steps']:,} steps of the base: "
        + " and ".join(name.replace("METRIC", METRIC) for name in record["protocols"].values())
        + ". In brackets the difference to the base with its 95% interval (paired bootstrap). A ratio is the mean over "
        "the data sets of the distance as a multiple of its floor, that of real train images; beside it is its "
        "difference to the base's.",
        "",
        "A change is better if the interval of the ratio's difference is below 0, and that of no data set's above 0. "
        "It is worse if the ratio's is above 0, or if a seed diverged, and worse on one if only a data set's is above "
        "0. With – the seeds do not tell. Each change is judged alone, without a correction for their number.",
        "",
        "| change | steps | "
        + " | ".join(" | ".join([f"{name}: Fréchet", "recall", *asked]) for name in names.values())
        + " | ratio | difference | CPU minutes | verdict |",
        "|---" * (6 + (2 + len(asked)) * len(names)) + "|",
    ]
    for name, change in record["changes"].items():
        cells = []
        for dataset in names:
            one = change["datasets"][dataset]
            interval = "" if name == BASE else f" ({interval_cell(one['minus_base'])})"
            scores = [scores for scores in one["scores"] if scores]
            cells += [_cell([x[METRIC] for x in scores]) + interval, _cell([x["recall"] for x in scores])]
            shares = [100 * x[LABEL_ACCURACY] for x in scores if LABEL_ACCURACY in x]
            cells += [_cell(shares) if shares else "–" for _ in asked]
        ratio = number(change["ratio"])
        costs = [one["cpu_seconds"] for one in change["datasets"].values()]
        minutes = "–" if None in costs else f"{sum(costs) / 60:.1f}"
        steps = next(iter(change["datasets"].values()))["steps"]
        verdict = ["", ""] if name == BASE else [interval_cell(change["ratio_minus_base"]), change["verdict"]]
        label = record["base"] if name == BASE else name
        lines.append(
            f"| `{label}` | {steps:,} | {' | '.join(cells)} | {ratio} | {verdict[0]} | {minutes} | {verdict[1]} |"
        )
    floors = [record["floors"][dataset] for dataset in names]
    real = [f"{floor[METRIC]:.3g} | {floor['recall']:.3g}" + " | " * len(asked) for floor in floors]
    lines.append(f"| real train images | | {' | '.join(real)} | 1 | | | |")
    return "\n".join(lines) + "\n"


def _cell(values: Sequence[float]) -> str:
    found = spread(values)
    if found is None:
        return "diverged"
    return number(found.mean) + ("" if found.sd is None else f" ± {number(found.sd)}")


def interval_cell(found: Mapping[str, Any]) -> str:
    """A `Difference`, as the record has it."""
    if found["n"] == 0:
        return "–"
    if found["interval"] is None:
        return number(found["mean"], "+")
    low, high = found["interval"]
    return f"{number(found['mean'], '+')} [{number(low, '+')}, {number(high, '+')}]"


def number(value: float | None, sign: str = "") -> str:
    """Two decimals, of large numbers fewer; with a true minus, so that no line breaks after it; – of None."""
    if value is None:
        return "–"
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:{sign}.{digits}f}".replace("-", "−")
