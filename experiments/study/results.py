"""What the study writes: study.md, study.json, study.png."""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from experiments.study.curve import Curve, best_of
from experiments.study.space import worded
from gan_jax import Config, __version__, config
from gan_jax.comparison.spread import spread
from gan_jax.storage import replacing, write_atomically

OTHERS = "0.72"  # the grey of the other systems' curves in a panel


@dataclasses.dataclass(frozen=True)
class Found:
    """Of one system.

    configs: the settings drawn. diverged: the step at which each one's GAN was lost, or −1. scores: the validation
    score of each; of one that was lost, that of uniform noise. rerun: the best setting's scores on the test split, one
    a seed, None for a seed that was lost; empty where all settings were lost.
    """

    configs: list[Config]
    diverged: list[int]
    scores: list[float]
    rerun: list[float | None]

    @property
    def best(self) -> int | None:
        """The setting with the least validation score; None where all were lost."""
        return choose_best(self.scores, self.diverged)

    @property
    def curve(self) -> Curve:
        """The expected best validation score of so many settings."""
        return best_of(self.scores)


def choose_best(scores: list[float], diverged: list[int]) -> int | None:
    """The index of the least score among the GANs that were not lost; None where all were."""
    return min((i for i, at in enumerate(diverged) if at < 0), key=scores.__getitem__, default=None)


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What was done, in the words of the report.

    updates: D updates of each GAN. seeds: of the rerun. num_train, validation, test: how many images the GANs saw, and
    the full names of the scores. floors: real train images' scores, on validation and on test. sha256: the network's.
    command: that makes all of it anew.
    """

    dataset: str
    model: str
    updates: int
    seeds: int
    num_train: int
    validation: str
    test: str
    floors: tuple[float, float]
    sha256: str
    command: str


def write(folder: Path, entries: Mapping[str, Found], protocol: Protocol) -> None:
    """Write all of it into the folder."""
    write_atomically(folder / "study.json", json.dumps(_json(entries, protocol), indent=1) + "\n")
    _plot(entries, protocol, folder / "study.png")
    write_atomically(folder / "study.md", _report(entries, protocol))


def _json(entries: Mapping[str, Found], protocol: Protocol) -> dict[str, Any]:
    versions = {"gan_jax": __version__, "jax": jax.__version__, "device": jax.devices()[0].device_kind}
    systems = {}
    for system, found in entries.items():
        systems[system] = {
            "settings": [
                {"config": config.to_json(c), "diverged": at, "validation": score}
                for c, at, score in zip(found.configs, found.diverged, found.scores, strict=True)
            ],
            "best": found.best,
            "test": found.rerun,
            "expected_best": {name: values.tolist() for name, values in found.curve._asdict().items()},
        }
    return {**versions, "protocol": dataclasses.asdict(protocol), "systems": systems}


def _report(entries: Mapping[str, Found], protocol: Protocol) -> str:
    count = len(next(iter(entries.values())).configs)
    budgets = [k for k in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if k < count] + [count]
    lines = [
        f"# A short random search on {protocol.dataset}",
        "",
        f'The space is that of Lucic 2018 ("Are GANs Created Equal?"); the budget is not: {count} settings a system '
        f"for their 100, {protocol.updates:,} D updates a GAN for their 15,625 steps, {protocol.seeds} seeds for "
        f"their 50, the nets `{protocol.model}`, and our classifier's features for Inception's. So these numbers rank "
        "systems under this budget alone, and no number of theirs stands beside them.",
        "",
        f"The GANs saw {protocol.num_train:,} train images. The setting was chosen by {protocol.validation}, against "
        f"other train images that none saw, and is reported by {protocol.test}, with new seeds. (The classifier saw "
        "the whole train split.) All systems get the same rates, β₁ and numbers of D updates. A GAN that diverged "
        "counts as uniform noise.",
        "",
        "```sh",
        protocol.command,
        "```",
        "",
        "| system | best of its settings | validation | test, over seeds | diverged |",
        "|---|---|---|---|---|",
        *(_row(system, found) for system, found in entries.items()),
        "| real train images | | {:.3g} | {:.3g} | |".format(*protocol.floors),
        "",
        "The expected best validation score of so many settings [95% of the resamples]:",
        "",
        "| settings | " + " | ".join(map(str, budgets)) + " |",
        "|---" * (len(budgets) + 1) + "|",
    ]
    for system, found in entries.items():
        curve = found.curve
        cells = [
            f"{curve.mean[k - 1]:.3g} [{curve.low[k - 1]:.3g}, {curve.high[k - 1]:.3g}]" for k in budgets
        ]
        lines.append(f"| {system} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", "![Expected best score of a budget](study.png)"]) + "\n"


def _row(system: str, found: Found) -> str:
    lost = f"{sum(at >= 0 for at in found.diverged)} of {len(found.configs)}"
    if found.best is None:
        return f"| {system} | none | – | – | {lost} |"
    alive = spread([x for x in found.rerun if x is not None])
    test = "all diverged"
    if alive:
        test = f"{alive.mean:.3g}" + ("" if alive.sd is None else f" ± {alive.sd:.2g}")
        test += f" ({len(found.rerun) - alive.n} diverged)" * (alive.n < len(found.rerun))
    return f"| {system} | {worded(found.configs[found.best])} | {found.scores[found.best]:.3g} | {test} | {lost} |"


def _plot(entries: Mapping[str, Found], protocol: Protocol, path: Path) -> None:
    """One panel a system, all systems' means in each, so that bands do not hide one another."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter, MaxNLocator

    columns = min(4, len(entries))
    rows = math.ceil(len(entries) / columns)
    figure = Figure(figsize=(1 + 2.6 * columns, 1.1 + 2.4 * rows), layout="constrained")
    figure.suptitle(f"{protocol.dataset}: the best score that a budget of settings buys", fontsize=11)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in panels[len(entries) :]:
        axes.remove()
    for i, (axes, (system, found)) in enumerate(zip(panels, entries.items(), strict=False)):
        for other in entries.values():
            axes.plot(range(1, len(other.scores) + 1), other.curve.mean, color=OTHERS, linewidth=1)
        k = range(1, len(found.scores) + 1)
        axes.fill_between(k, found.curve.low, found.curve.high, color=f"C{i}", alpha=0.2, linewidth=0)
        axes.plot(k, found.curve.mean, color=f"C{i}", marker=".", linewidth=1.5)
        axes.set_title(system, fontsize=10, color=f"C{i}")
        axes.set_xlabel("settings tried", fontsize=9)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(LogFormatter())
        axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.4)))  # of decades
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.grid(alpha=0.3)
    figure.supylabel("Fréchet distance", fontsize=10)
    _explain(figure, len(entries) > 1)
    with replacing(path) as new:
        figure.savefig(new, dpi=120, format="png")


def _explain(figure: Any, several: bool) -> None:
    """Say below the panels what their lines and bands are."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    meanings: dict[str, Any] = {
        "expected best of so many settings": Line2D([], [], color="0.2", marker=".", linewidth=1.5),
        "95% of the resamples": Patch(facecolor="0.2", alpha=0.2),
    }
    if several:
        meanings["the other systems' expected best"] = Line2D([], [], color=OTHERS, linewidth=1)
    names, handles = zip(*meanings.items(), strict=True)
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), fontsize=9, frameon=False)
