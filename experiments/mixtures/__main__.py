"""Mode collapse, seen: systems of the literature on two mixtures of Gaussians, in pictures, an animation and a table.

    python -m experiments.mixtures

Writes ring8.png, grid25.png, mixtures.gif and mixtures.md to experiments/results/. Presets as they are, but for the
nets, the noise, the rates and the batch, which all have in common, and WGAN-GP's weight, which is its authors' for such
data. It takes eight minutes of a core of an AMD EPYC.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from gan_jax import Config, cli, fit_population
from gan_jax.comparison.spread import spread
from gan_jax.evaluation import evaluator_for
from gan_jax.options import COUNT, PATH, check, option, whole
from gan_jax.storage import replacing, write_atomically

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
    "lsgan": {"preset": "lsgan"},
    "wgan_gp": {"preset": "wgan_gp", "penalty_weight": 0.1},  # Gulrajani 2017's program for toy data
    "hinge": {"preset": "hinge"},
    "r3gan": {"preset": "r3gan"},
}
DATASETS = ("ring8", "grid25")
ANIMATED = ("gan, non-saturating", "lsgan")  # side by side, on the last of the data sets
FRAMES = 50
COLUMNS = (1 / 30, 1 / 6, 1 / 3, 2 / 3, 1)  # shares of the run that the pictures show
SIZE = 200  # pixels of a picture, along each axis
LABEL = 20  # pixels, the height of a line of text
GAP = 4
COLOURS = 128  # of what is written: gradients of more take several times the bytes


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


def sheet(found: dict[str, Found], steps: Sequence[int]) -> Image.Image:
    """A row of pictures for each system, a column for each step."""
    size = (len(steps) * (SIZE + GAP), LABEL + len(found) * (SIZE + LABEL + GAP))
    drawn = Image.new("RGB", size, "white")
    for i, step in enumerate(steps):
        write_text(drawn, (i * (SIZE + GAP), 2), f"step {step:,}")
    for row, (system, one) in enumerate(found.items()):
        top = LABEL + row * (SIZE + LABEL + GAP)
        modes, share = np.mean(one.scores["modes_found"]), np.mean(one.scores["high_quality"])
        write_text(
            drawn,
            (0, top + 2),
            f"{system}: finds {modes:.1f} modes, {share:.0%} of high quality, mean of the seeds",
        )
        for i, step in enumerate(steps):
            drawn.paste(scaled(one.pictures[step]), (i * (SIZE + GAP), top + LABEL))
    return drawn


def scaled(picture: Image.Image, size: int = SIZE) -> Image.Image:
    """The picture, smaller."""
    return picture.resize((size, size), Image.Resampling.LANCZOS)


def write_text(drawn: Image.Image, at: tuple[int, int], text: str) -> None:
    """One line of text."""
    ImageDraw.Draw(drawn).text(at, text, fill="black", font=ImageFont.load_default(13))


def animation(found: dict[str, Found], path: Path) -> None:
    """The animated systems side by side over the steps of the run, as a GIF."""
    size = 220
    frames = []
    for step in found[ANIMATED[0]].pictures:
        frame = Image.new("RGB", (len(ANIMATED) * (size + GAP), size + LABEL), "white")
        for i, system in enumerate(ANIMATED):
            write_text(frame, (i * (size + GAP), 2), f"{system}, step {step:,}")
            frame.paste(scaled(found[system].pictures[step], size), (i * (size + GAP), LABEL))
        # Without dithering, whose noise takes bytes.
        frames.append(frame.quantize(COLOURS // 4, dither=Image.Dither.NONE))
    times = [120] * (len(frames) - 1) + [2500]
    with replacing(path) as new:
        frames[0].save(new, "GIF", save_all=True, append_images=frames[1:], duration=times, loop=0)


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
    folder = Path(options.out).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    tables = []
    with tqdm(total=len(DATASETS) * len(SYSTEMS) * options.steps, unit="step", disable=None) as bar:
        for dataset in DATASETS:
            found = {system: train(dataset, system, options, bar) for system in SYSTEMS}
            stops = sorted(found[ANIMATED[0]].pictures)
            shown = [min(stops, key=lambda stop: abs(stop - share * options.steps)) for share in COLUMNS]
            with replacing(folder / f"{dataset}.png") as new:
                sheet(found, shown).quantize(COLOURS).save(new, "PNG", optimize=True)
            if dataset == DATASETS[-1]:
                animation(found, folder / "mixtures.gif")
            tables.append(table(dataset, found))
    text = "\n".join(["# Modes found", "", *tables])
    write_atomically(folder / "mixtures.md", text)
    print(text)


if __name__ == "__main__":
    cli.run(main)
