"""Vanishing gradients, seen: the minimax generator's beside the non-saturating one's, on MNIST.

    python -m experiments.vanishing

Two experiments with the tutorial's nets. Left, as in Arjovsky & Bottou 2017, figures 2 and 3: G stands still while D
trains, so that both losses meet the same D. Right, a run in which D is ahead, with several updates for each of G's.
Writes vanishing.png and vanishing.md to experiments/results/. Expect a few minutes on two quiet cores.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from gan_jax import Config, cli, data, fit_population
from gan_jax.comparison.spread import spread
from gan_jax.options import COUNT, PATH, check, option, whole
from gan_jax.storage import expanded, replacing, write_atomically

LOSSES = {"minimax": "minimax", "non-saturating": "cross_entropy"}
EXPERIMENTS: dict[str, dict[str, Any]] = {
    "G stands still": {"g_learning_rate": 1e-30},  # far below what float32 weights can move by
    "D has 5 updates for 1 of G": {"d_steps": 5},
}
SHOWN = {"g_gradient_norm": "norm of G's gradient", "fake_score": "D's mean score on generated images"}
EVERY = 10  # steps of a chunk, whose means are the curves' points

Curves = dict[str, np.ndarray]  # metric -> [seeds, points]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How much to train, and where to write."""

    steps: int = option(1000, "Steps of each run.", COUNT)
    seeds: int = option(5, "Seeds of each.", whole(2, 1000))
    out: str = option("experiments/results", "Folder to write to.", PATH)

    def __post_init__(self) -> None:
        """Check every field. Raises `UserError`."""
        check(self)


def train(loss: str, own: dict[str, Any], options: Options, images: np.ndarray, bar: tqdm) -> Curves:
    """The curves of all seeds."""
    values = {
        "preset": "gan",
        "loss": loss,
        "steps": options.steps,
        "log_every": EVERY,
        "log_gradients": True,
    }
    configs = [Config(**{**values, **own}, seed=seed) for seed in range(options.seeds)]
    rows = []
    for population in fit_population(configs, images):
        rows.append(population.metrics)
        bar.update(population.step - population.begin)
    return {name: np.stack([row[name] for row in rows], 1) for name in SHOWN}


def draw(found: dict[str, dict[str, Curves]], options: Options, path: Path) -> None:
    """A column for each experiment: means over the seeds, and bands from the least to the greatest."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    grid = figure.subplots(len(SHOWN), len(found), sharex=True, sharey="row", squeeze=False)
    steps = np.minimum(np.arange(EVERY, options.steps + EVERY, EVERY), options.steps)
    for column, (experiment, losses) in zip(grid.T, found.items(), strict=True):
        column[0].set_title(experiment, fontsize=11)
        for axes, (metric, words) in zip(column, SHOWN.items(), strict=True):
            for loss, curves in losses.items():
                values = curves[metric]
                [line] = axes.plot(steps, np.exp(np.log(values).mean(0)), label=loss, linewidth=1.2)
                band = {"alpha": 0.25, "color": line.get_color(), "linewidth": 0}
                axes.fill_between(steps, values.min(0), values.max(0), **band)
            axes.set_yscale("log")
            axes.grid(alpha=0.3)
            axes.set_ylabel(words if axes in grid[:, 0] else "")
        column[-1].set_xlabel("step")
    grid[0, 0].legend(fontsize=9)
    figure.suptitle(
        f"MNIST, the tutorial's nets: geometric means of {options.seeds} seeds, and their range", fontsize=11
    )
    with replacing(path) as new:
        figure.savefig(new, dpi=120, format="png")


def table(found: dict[str, dict[str, Curves]], options: Options) -> str:
    """The gradient's norm at the start, half-way and at the end, mean ± standard deviation over the seeds."""
    last = -(-options.steps // EVERY) - 1
    stops = {0: EVERY, last // 2: (last // 2 + 1) * EVERY, last: options.steps}
    lines = [
        f"# Norm of G's gradient, {options.seeds} seeds",
        "",
        f"Means over {EVERY} steps that end there, ± standard deviation over the seeds; D's score on generated images "
        "is the last one.",
        "",
        "| | loss | " + " | ".join(f"step {step:,}" for step in stops.values()) + " | D's score |",
        "|---" * (len(stops) + 3) + "|",
    ]
    for experiment, losses in found.items():
        for loss, curves in losses.items():
            cells = [_cell(curves["g_gradient_norm"][:, i]) for i in stops] + [
                _cell(curves["fake_score"][:, -1])
            ]
            lines.append(f"| {experiment} | {loss} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _cell(values: np.ndarray) -> str:
    of = spread(values.tolist())
    assert of is not None
    return f"{of.mean:.2g} ± {of.sd:.1g}"


def main(args: Sequence[str]) -> None:
    """The command."""
    options = cli.parse(Options, args, prog="python -m experiments.vanishing", description=__doc__ or "")
    cli.use_compilation_cache()
    folder = expanded(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    images, _ = data.load("mnist", "train")
    found: dict[str, dict[str, Curves]] = {}
    with tqdm(total=len(EXPERIMENTS) * len(LOSSES) * options.steps, unit="step", disable=None) as bar:
        for experiment, own in EXPERIMENTS.items():
            found[experiment] = {
                name: train(loss, own, options, images, bar) for name, loss in LOSSES.items()
            }
    draw(found, options, folder / "vanishing.png")
    text = table(found, options)
    write_atomically(folder / "vanishing.md", text)
    print(text)


if __name__ == "__main__":
    cli.run(main)
