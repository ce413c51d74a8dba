"""What a comparison writes: report.md, results.json, results.csv, curves.png."""

import csv
import io
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax import __version__, config
from gan_jax.comparison.scoring import Scored
from gan_jax.comparison.spread import Difference, difference, spread
from gan_jax.evaluation.protocol import Evaluator
from gan_jax.evaluation.scores import heading
from gan_jax.storage import replacing, write_atomically

COMPARED = "frechet_distance"  # the metric by which pairs of systems are
FOUND = "classes_found"


def write(folder: Path, entries: Mapping[str, Scored], evaluator: Evaluator, *, dataset: str) -> None:
    """Write all of it into the folder of the comparison."""
    pairs = {(a, b): _difference(entries[a], entries[b]) for a, b in itertools.combinations(entries, 2)}
    write_atomically(folder / "results.json", json.dumps(_json(entries, pairs, evaluator), indent=2) + "\n")
    write_atomically(folder / "results.csv", _csv(entries))
    plot_curves(entries, folder / "curves.png", f"{dataset}: mean over the seeds, and their range")
    write_atomically(folder / "report.md", _report(entries, pairs, evaluator, dataset))


def _difference(a: Scored, b: Scored) -> Difference:
    """Of the Fréchet distances, over the seeds at which neither diverged."""
    both = [
        (x[COMPARED], y[COMPARED])
        for x, y in zip(a.scores, b.scores, strict=True)
        if x and y and COMPARED in x
    ]
    return difference([x for x, _ in both], [y for _, y in both])


def _json(
    entries: Mapping[str, Scored], pairs: Mapping[tuple[str, str], Difference], evaluator: Evaluator
) -> dict[str, Any]:
    return {
        "gan_jax": __version__,
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "protocol": evaluator.name("METRIC"),
        "systems": {
            label: {
                "members": [
                    {"config": config.to_json(c), "diverged": d, "scores": s}
                    for c, d, s in zip(entry.population.configs, entry.diverged, entry.scores, strict=True)
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
            {"a": a, "b": b, "metric": COMPARED, **found._asdict()} for (a, b), found in pairs.items()
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
        for c, d, s in zip(entry.population.configs, entry.diverged, entry.scores, strict=True):
            table.writerow([label, c.seed, "" if d < 0 else d, *(s.get(metric, "") for metric in metrics)])
    return text.getvalue()


def _report(
    entries: Mapping[str, Scored],
    pairs: Mapping[tuple[str, str], Difference],
    evaluator: Evaluator,
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
        "| system | steps | " + " | ".join(str(heading(m)) for m in metrics) + " | diverged | collapsed |",
        "|---" * (len(metrics) + 4) + "|",
    ]
    for label, entry in entries.items():
        cells = [_cell([s[m] for s in entry.scores if m in s]) for m in metrics]
        lines.append(
            f"| {label} | {entry.population.plan.total} | "
            + " | ".join(cells)
            + f" | {sum(d >= 0 for d in entry.diverged)} of {seeds} | {_collapsed(entry, floors)} |"
        )
    if floors:
        lines.append("| real train images | | " + " | ".join(f"{floors[m]:.4g}" for m in metrics) + " | | |")
    lines += ["", *_sentences(pairs), "", "![Losses over training](curves.png)"]
    return "\n".join(lines) + "\n"


def _cell(values: list[float]) -> str:
    found = spread(values)
    if found is None:
        return "–"
    sd = "" if found.sd is None else f" ± {found.sd:.2g}"
    extent = "" if found.n == 1 else f" [{found.low:.4g}, {found.high:.4g}]"
    return f"{found.mean:.4g}{sd}{extent}"


def _collapsed(entry: Scored, floors: Mapping[str, float]) -> str:
    """How many members lack a class that real images have."""
    if FOUND not in floors:
        return "–"
    alive = [scores for scores in entry.scores if scores]
    return f"{sum(scores[FOUND] < floors[FOUND] for scores in alive)} of {len(alive)}"


def _sentences(pairs: Mapping[tuple[str, str], Difference]) -> list[str]:
    if not pairs:
        return []
    lines = [
        "Differences in Fréchet distance over the seeds that both have, with 95% intervals (paired bootstrap):",
        "",
    ]
    for (a, b), found in pairs.items():
        if found.interval is None:
            lines.append(f"- {a} − {b}: {found.mean:.3g}; three seeds at least are needed for an interval.")
            continue
        low, high = found.interval
        verdict = {-1: f"{a} is better", 1: f"{b} is better", 0: "these seeds do not tell them apart"}[
            found.sign
        ]
        lines.append(f"- {a} − {b}: {found.mean:.3g} [{low:.3g}, {high:.3g}]: {verdict}.")
    return lines


def plot_curves(entries: Mapping[str, Scored], path: Path, title: str) -> None:
    """Both losses of each system over the steps, as a mean with a band from the least to the greatest seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    figure.suptitle(title, fontsize=11)
    for axes, name, label in zip(
        figure.subplots(2, 1, sharex=True), ("d_loss", "g_loss"), ("D loss", "G loss"), strict=True
    ):
        for system, entry in entries.items():
            steps = [row["step"] for row in entry.rows]
            values = np.array([row[name] for row in entry.rows], np.float64).reshape(len(steps), -1)
            alive = values[:, ~np.isnan(values[-1])] if len(steps) else values
            if not alive.size:
                continue
            [line] = axes.plot(steps, alive.mean(1), label=system, linewidth=1)
            axes.fill_between(
                steps, alive.min(1), alive.max(1), alpha=0.2, color=line.get_color(), linewidth=0
            )
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    figure.axes[0].legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=len(entries), fontsize=9, frameon=False
    )
    figure.axes[-1].set_xlabel("step")
    with replacing(path) as new:
        figure.savefig(new, dpi=120, format="png")
