"""What a comparison writes: report.md, results.json, results.csv, curves.png."""

import csv
import io
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax import __version__, config
from gan_jax.comparison.scoring import Scored
from gan_jax.comparison.spread import Difference, difference, spread, told_apart
from gan_jax.errors import printable
from gan_jax.evaluation.named import Judge
from gan_jax.evaluation.protocol import Evaluator
from gan_jax.evaluation.scores import LABEL_ACCURACY, heading, sayable
from gan_jax.storage import replacing, write_atomically

# The metrics by which pairs of systems are compared, as far as there are any: in words, and whether less is better.
COMPARED = {
    "frechet_distance": ("Fréchet distance", True),
    "recall": ("recall", False),
    LABEL_ACCURACY: ("the share of samples of the class asked for", False),
    "modes_found": ("modes found", False),
    "mode_kl": ("mode KL", True),
    "high_quality": ("the share of samples of high quality", False),
}
FILES = ("report.md", "results.json", "results.csv", "curves.png")
FOUND = ("classes_found", "modes_found")

# Of each metric and two systems: their difference, and whether it is there when all pairs are looked at together.
Pairs = Mapping[str, Mapping[tuple[str, str], tuple[Difference, bool]]]


def write(folder: Path, entries: Mapping[str, Scored], evaluator: Judge, *, dataset: str) -> None:
    """Write all of it into the folder of the comparison."""
    pairs = _pairs(entries)
    write_atomically(
        folder / "results.json",
        json.dumps(sayable(_json(entries, pairs, evaluator)), indent=2, allow_nan=False) + "\n",
    )
    write_atomically(folder / "results.csv", _csv(entries))
    plot_curves(entries, folder / "curves.png", f"{dataset}: mean over the seeds, and their range")
    write_atomically(folder / "report.md", _report(entries, pairs, evaluator, dataset))


def _pairs(entries: Mapping[str, Scored]) -> Pairs:
    measured = {metric for entry in entries.values() for metric in _metrics(entry)}
    # Without any score at all, since all diverged, the first is what is missing.
    compared = [metric for metric in COMPARED if metric in measured] or list(COMPARED)[:1]
    pairs: dict[str, dict[tuple[str, str], tuple[Difference, bool]]] = {}
    for metric in compared:
        # A system without labels has no share of the class asked for; one that diverged has no score at all.
        having = [label for label, entry in entries.items() if metric in (_metrics(entry) or [metric])]
        names = list(itertools.combinations(having, 2))
        found = [_difference(entries[a], entries[b], metric) for a, b in names]
        if names:
            pairs[metric] = dict(zip(names, zip(found, told_apart(found), strict=True), strict=True))
    return pairs


def _difference(a: Scored, b: Scored, metric: str) -> Difference:
    """Of the values of a metric, over the seeds at which neither diverged, and both are finite."""
    both = [
        (x[metric], y[metric])
        for x, y in zip(a.scores, b.scores, strict=True)
        if x and y and metric in x and math.isfinite(x[metric]) and math.isfinite(y[metric])
    ]
    return difference([x for x, _ in both], [y for _, y in both])


def _json(entries: Mapping[str, Scored], pairs: Pairs, evaluator: Judge) -> dict[str, Any]:
    return {
        "gan_jax": __version__,
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "protocol": evaluator.name("METRIC"),
        "systems": {
            label: {
                "members": [
                    {"config": config.to_json(c), "diverged": d, "scores": s}
                    for c, d, s in zip(entry.configs, entry.diverged, entry.scores, strict=True)
                ],
                "spread": {
                    metric: found._asdict()
                    for metric in _metrics(entry)
                    if (found := spread([s[metric] for s in entry.scores if s]))
                },
            }
            for label, entry in entries.items()
        },
        "differences": [
            {"a": a, "b": b, "metric": metric, **found._asdict(), "told_apart": sure}
            for metric, its in pairs.items()
            for (a, b), (found, sure) in its.items()
        ],
    }


def _metrics(entry: Scored) -> list[str]:
    return list(next((scores for scores in entry.scores if scores), {}))


def _csv(entries: Mapping[str, Scored]) -> str:
    metrics = list(dict.fromkeys(metric for entry in entries.values() for metric in _metrics(entry)))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["system", "seed", "diverged", *metrics])
    for label, entry in entries.items():
        for c, d, s in zip(entry.configs, entry.diverged, entry.scores, strict=True):
            table.writerow([label, c.seed, "" if d < 0 else d, *(s.get(metric, "") for metric in metrics)])
    return text.getvalue()


def _report(
    entries: Mapping[str, Scored],
    pairs: Pairs,
    evaluator: Judge,
    dataset: str,
) -> str:
    metrics = [m for m in dict.fromkeys(m for e in entries.values() for m in _metrics(e)) if heading(m)]
    seeds = len(next(iter(entries.values())).scores)
    floors = evaluator.floors()
    lines = [
        f"# {', '.join(entries)} on {dataset}, {seeds} seeds",
        "",
        f"Mean ± standard deviation over the seeds [least, greatest]. Scores as {evaluator.name('METRIC')}.",
        "",
        _row(["system", "steps", *(str(heading(m)) for m in metrics), "diverged", "collapsed"]),
        "|---" * (len(metrics) + 4) + "|",
    ]
    for label, entry in entries.items():
        cells = [_cell([s[m] for s in entry.scores if m in s]) for m in metrics]
        diverged = f"{sum(d >= 0 for d in entry.diverged)} of {seeds}"
        lines.append(_row([label, str(entry.steps), *cells, diverged, _collapsed(entry, floors)]))
    if floors:
        cells = [f"{floors[m]:.4g}" if m in floors else "" for m in metrics]
        lines.append(_row([evaluator.floors_of, "", *cells, "", ""]))
    if LABEL_ACCURACY in metrics and isinstance(evaluator, Evaluator):
        real = evaluator.label_accuracy_of_test()
        if real is not None:
            lines += ["", f"The classifier gives {real:.2%} of the real test images their own class."]
    if lost := _lost(entries):
        lines += ["", f"Diverged: {', '.join(lost)}."]
    lines += ["", *_sentences(pairs), "", "![Losses over training](curves.png)"]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "".join(f"| {cell} " if cell else "| " for cell in cells) + "|"


def _cell(values: list[float]) -> str:
    found = spread(values)
    if found is None:
        return "–"
    sd = "" if found.sd is None else f" ± {found.sd:.2g}"
    extent = "" if found.n == 1 else f" [{found.low:.4g}, {found.high:.4g}]"
    return f"{found.mean:.4g}{sd}{extent}"


def _collapsed(entry: Scored, floors: Mapping[str, float]) -> str:
    """How many members lack a class, or a mode, that real data have."""
    counts = [metric for metric in FOUND if metric in floors]
    if not counts:
        return "–"
    alive = [scores for scores in entry.scores if scores]
    lacking = [scores for scores in alive if any(scores[metric] < floors[metric] for metric in counts)]
    return f"{len(lacking)} of {len(alive)}"


def _lost(entries: Mapping[str, Scored]) -> list[str]:
    """The members that diverged, each with its step."""
    return [
        f"{label} with seed {c.seed} at step {d:,}"
        for label, entry in entries.items()
        for c, d in zip(entry.configs, entry.diverged, strict=True)
        if d >= 0
    ]


def _sentences(pairs: Pairs) -> list[str]:
    lines: list[str] = []
    for metric, its in pairs.items():
        words, less = COMPARED[metric]
        together = (
            f' "Is better" holds for all {len(its)} pairs together (Holm 1979, on Student\'s paired test, 5%); "taken '
            'alone" means that 0 is not in the interval, as in one of twenty pairs of equal systems.'
        )
        lines += [
            "",
            f"Differences in {words} over the seeds that both have, each with its 95% interval (paired bootstrap)."
            + (together if len(its) > 1 else ""),
            "",
        ]
        for (a, b), (found, sure) in its.items():
            lines.append(f"- {a} − {b}: {_verdict(a, b, found, less, sure)}.")
    return lines[1:]


def _verdict(a: str, b: str, found: Difference, less: bool, sure: bool) -> str:
    if found.mean is None:
        return "at no seed have both come to the end"
    if found.interval is None:
        return f"{found.mean:.3g}; three seeds at least are needed for an interval"
    low, high = found.interval
    better = a if (found.mean < 0) == less else b
    verdict = "these seeds do not tell them apart"
    if found.sign:
        verdict = f"{better} is better" + ("" if sure else ", taken alone")
    return f"{found.mean:.3g} [{low:.3g}, {high:.3g}]: {verdict}"


def plot_curves(entries: Mapping[str, Scored], path: Path, title: str) -> None:
    """Both losses over the steps, as a mean with a band from the least to the greatest seed; a panel a system.

    The losses of two systems have nothing in common, and scales that would flatten each other's curves.
    """
    from matplotlib.figure import Figure

    columns = min(len(entries), 4)
    rows = -(-len(entries) // columns)
    figure = Figure(figsize=(3.2 * columns + 0.6, 2.6 * rows + 0.8), layout="constrained")
    figure.suptitle(printable(title), fontsize=11, parse_math=False)
    all_axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in all_axes[len(entries) :]:
        axes.set_axis_off()
    for axes, (system, entry) in zip(all_axes, entries.items(), strict=False):
        axes.set_title(printable(system), fontsize=10, parse_math=False)
        axes.set_xlabel("step", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
        _draw_losses(axes, entry)
        if axes.lines:
            axes.legend(fontsize=8)
    with replacing(path) as new:
        figure.savefig(new, dpi=120, format="png")


def _draw_losses(axes: Any, entry: Scored) -> None:
    """Of the members that are alive at the end."""
    steps = [row["step"] for row in entry.rows]
    if not steps:  # the log was lost
        return
    for name, label in (("d_loss", "D loss"), ("g_loss", "G loss")):
        values = np.array([row[name] for row in entry.rows], np.float64).reshape(len(steps), -1)
        alive = values[:, ~np.isnan(values[-1])]
        if not alive.size:
            continue
        dot = "." if len(steps) == 1 else None  # of which no line could be seen
        [line] = axes.plot(steps, alive.mean(1), label=label, linewidth=1, marker=dot)
        axes.fill_between(steps, alive.min(1), alive.max(1), alpha=0.2, color=line.get_color(), linewidth=0)
