"""Mode collapse, seen: systems of the literature on two mixtures of Gaussians, in pictures, an animation and a table.

    python -m experiments.mixtures

Writes ring8.png, grid25.png, mixtures.gif and mixtures.md to experiments/results/. All have the same nets, noise,
rates and batches. `lsgan` has no spectral norm and β₁ = 0.5, and `hinge` has β₂ = 0.9. WGAN-GP's weight is its authors'
for such data. All else is the presets'. It takes eight minutes of a core of an AMD EPYC.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from experiments.mixtures.drawing import animation, sheet
from gan_jax import Config, cli, fit_population
from gan_jax.comparison.spread import spread
from gan_jax.evaluation import evaluator_for
from gan_jax.options import COUNT, PATH, check, option, whole
from gan_jax.storage import expanded, replacing, write_atomically

COMMON: dict[str, Any] = {
    "model": "toy",
    "z_dim": 2,
    "batch_size": 128,
    "g_learning_rate": 1e-3,
    "d_learning_rate": 1e-3,
}
SYSTEMS: dict[str, dict[str, Any]] = {
    "gan, minimax": {"preset": "gan", "loss": "minimax"},
    "gan, non-saturating": {"preset": "gan"},
    "lsgan": {"preset": "lsgan", "spectral_norm": False, "beta1": 0.5},
    "wgan_gp": {"preset": "wgan_gp", "penalty_weight": 0.1},  # Gulrajani 2017's program for toy data
    "hinge": {"preset": "hinge", "beta2": 0.9},
    "r3gan": {"preset": "r3gan"},
}
DATASETS = ("ring8", "grid25")
ANIMATED = ("gan, non-saturating", "lsgan")  # side by side, on the last of the data sets
FRAMES = 50
COLUMNS = (1 / 30, 1 / 6, 1 / 3, 2 / 3, 1)  # shares of the run that the pictures show


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How much to train, and where to write."""

    steps: int = option(6000, "Steps of each run.", COUNT)
    seeds: int = option(5, "Seeds of each system; the first one's pictures are shown.", whole(1, 1000))
    out: str = option("experiments/results", "Folder to write to.", PATH)

    def __post_init__(self) -> None:
        """Check every field. Raises `UserError`."""
        check(self)


@dataclasses.dataclass
class Found:
    """Of a system on a mixture: the first seed's picture by step, and all seeds' scores by metric."""

    pictures: dict[int, Image.Image]
    scores: dict[str, list[float]]


def train(dataset: str, system: str, options: Options, bar: tqdm) -> Found:
    """Train all seeds of a system."""
    every = max(1, options.steps // FRAMES)
    own = {**COMMON, **SYSTEMS[system], "dataset": dataset, "steps": options.steps, "log_every": every}
    configs = [
        Config(**{**own, "checkpoint_every": options.steps}, seed=seed) for seed in range(options.seeds)
    ]
    pictures = {}
    for population in fit_population(configs):
        pictures[population.step] = population[0].grid()
        bar.update(population.step - population.begin)
    evaluator = evaluator_for(dataset)
    scores: dict[str, list[float]] = {}
    for i in range(options.seeds):
        for score in evaluator.scores(population[i].sample(evaluator.num, evaluator.seed)):
            scores.setdefault(score.metric, []).append(score.value)
    return Found(pictures, scores)


def caption(system: str, found: Found) -> str:
    """What a row of pictures is headed by."""
    modes, share = (np.mean(found.scores[metric]) for metric in ("modes_found", "high_quality"))
    seeds = len(found.scores["modes_found"])
    return f"{system}: {modes:.1f} modes found, {share:.0%} of high quality (mean of {seeds} seeds; here the first)"


def table(dataset: str, found: dict[str, Found]) -> str:
    """The scores of all systems, mean ± standard deviation over the seeds."""
    evaluator = evaluator_for(dataset)
    floors = evaluator.floors()
    seeds = len(next(iter(found.values())).scores["modes_found"])
    lines = [
        f"## {dataset}: {evaluator.name('METRIC')}, {seeds} seeds",
        "",
        "| system | modes found | least | high quality | mode KL |",
        "|---|---|---|---|---|",
    ]
    for system, one in found.items():
        cells = []
        for metric in ("modes_found", "high_quality", "mode_kl"):
            of = spread(one.scores[metric])
            assert of is not None
            cells.append(f"{of.mean:.2f}" + ("" if of.sd is None else f" ± {of.sd:.2f}"))
        cells.insert(1, f"{min(one.scores['modes_found']):.0f}")
        lines.append(f"| {system} | {' | '.join(cells)} |")
    real = [f"{floors['modes_found']:.0f}", "", f"{floors['high_quality']:.2f}", f"{floors['mode_kl']:.2f}"]
    return "\n".join([*lines, f"| real points | {' | '.join(real)} |", ""])


def main(args: Sequence[str]) -> None:
    """The command."""
    options = cli.parse(Options, args, prog="python -m experiments.mixtures", description=__doc__ or "")
    cli.use_compilation_cache()
    folder = expanded(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    tables = []
    with tqdm(total=len(DATASETS) * len(SYSTEMS) * options.steps, unit="step", disable=None) as bar:
        for dataset in DATASETS:
            found = {system: train(dataset, system, options, bar) for system in SYSTEMS}
            stops = sorted(found[ANIMATED[0]].pictures)
            shown = [min(stops, key=lambda stop: abs(stop - share * options.steps)) for share in COLUMNS]
            planes = {system: one.pictures for system, one in found.items()}
            captions = {system: caption(system, one) for system, one in found.items()}
            with replacing(folder / f"{dataset}.png") as new:
                sheet(planes, captions, shown).save(new, "PNG", optimize=True)
            if dataset == DATASETS[-1]:
                animation({system: planes[system] for system in ANIMATED}, folder / "mixtures.gif")
            tables.append(table(dataset, found))
    text = "\n".join(["# Modes found", "", *tables])
    write_atomically(folder / "mixtures.md", text)
    print(text)


if __name__ == "__main__":
    cli.run(main)
