"""Stacked MNIST: how many of 1,000 modes each system finds, and how evenly. Lin 2018 (PacGAN), §4.1.

    python -m experiments.stacked_mnist --workdir=runs/stacked                                # everything, 3 seeds
    python -m experiments.stacked_mnist --workdir=runs/stacked --systems "r3gan, tuned"       # one system, 3 seeds
    python -m experiments.stacked_mnist --workdir=runs/stacked --seeds=1 --steps=3000 --num=26000    # a first look

Modes and KL(samples ‖ uniform) in nats, by MNIST's classifier, argmax a channel; of the first 26,000 and of all 100,000
samples of a member (with --num=26000 of those alone). Both depend on the number of samples: beside them stand real
images and a uniform sampler. Writes stacked_mnist.md, .json and .png into --out. Rerun the same command to go on;
systems that other runs have left in the same --workdir are in the table as well. Times are the process's CPU time: busy
machines do not change it much. A dash is in their place where a process was killed, and could not say what it took.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments.cost import counted, cpu_seconds
from gan_jax import cli, data, pictures, report
from gan_jax.comparison.spread import spread
from gan_jax.config import Config, to_json
from gan_jax.features import load_stacked_classifier
from gan_jax.metrics import mode_count, mode_kl
from gan_jax.options import COUNT, PATH, SEED, check, choice, option, whole
from gan_jax.population import Population
from gan_jax.population_run import train_population
from gan_jax.storage import expanded, replacing, write_atomically

NUMBERS = (26_000, 100_000)  # of samples: the literature's, and enough for the noise to be small
SAMPLE_SEED = 0  # of the samples that are reported; `r3gan, tuned` was chosen by those of seed 1
PER_SYSTEM = 16  # samples in the picture
DRAWS = 100  # of the uniform sampler
BLOCK = 10_000  # images that are classified at once: all of their probabilities would take half a gigabyte

# What most of them share: their values when the table was made.
COMMON: dict[str, Any] = {
    "model": "conv_small",
    "g_learning_rate": 2e-4,
    "d_learning_rate": 2e-4,
    "beta1": 0.5,
    "batch_size": 64,
}
# What each system is, besides --steps. Those with _conv have conv_small in place of mlp.
_SINGLE: dict[str, dict[str, Any]] = {
    "gan_conv": {**COMMON, "loss": "cross_entropy", "penalty": ()},
    "lsgan": {**COMMON, "preset": "lsgan", "spectral_norm": False},
    "wgan_conv": {**COMMON, "preset": "wgan", "clip": 0.03, "g_learning_rate": 5e-4, "d_learning_rate": 5e-4},
    "wgan_gp": {
        **COMMON,
        "preset": "wgan_gp",
        "beta1": 0.0,
        "g_learning_rate": 1e-4,
        "d_learning_rate": 1e-4,
    },
    "dragan": {**COMMON, "preset": "dragan"},
    "hinge": {**COMMON, "preset": "hinge", "beta1": 0.0, "beta2": 0.9},
    "r3gan": {**COMMON, "preset": "r3gan", "beta1": 0.0},
}
SYSTEMS: dict[str, dict[str, Any]] = {
    "tutorial": {"preset": "gan"},  # mlp
    **_SINGLE,
    **{f"{name}, pack 2": {**_SINGLE[name], "pack": 2} for name in ("gan_conv", "wgan_gp", "hinge", "r3gan")},
    "r3gan, tuned": {
        **_SINGLE["r3gan"],
        "g_learning_rate": 2e-3,
        "d_learning_rate": 1e-3,
        "penalty_weight": 0.3,
        "schedule": "cosine",
        "steps": 25_000,
    },
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to train."""

    workdir: str = option("runs/stacked", "Folder of the runs; rerun with the same one to go on.", PATH)
    out: str = option("experiments/results", "Folder of the results.", PATH)
    systems: tuple[str, ...] = option(
        tuple(SYSTEMS), "Names of systems, separated by spaces.", choice("system", SYSTEMS), many=True
    )
    seeds: int = option(3, "Seeds of each system.", whole(1, 100))
    seed: int = option(0, "The first of them.", SEED)
    num: int = option(max(NUMBERS), "Samples of each member.", whole(min(NUMBERS), max(NUMBERS)))
    steps: int | None = option(
        None, "Steps of each system. Default: its own, 10,000 unless it says otherwise.", COUNT
    )

    def __post_init__(self) -> None:
        """Check every option."""
        check(self)


def config_of(system: str, seed: int, steps: int | None) -> Config:
    """The config of a system's member."""
    given = {"steps": 10_000, **SYSTEMS[system], **({"steps": steps} if steps else {})}
    return Config(**given, seed=seed, dataset="stacked_mnist")


def modes_of(labels: np.ndarray) -> dict[str, list[float]]:
    """[modes found, their KL] of the first n labels, for each n of `NUMBERS`."""
    return {str(n): [mode_count(labels[:n]), mode_kl(labels[:n])] for n in NUMBERS if n <= len(labels)}


def train(config: Config, images: np.ndarray, folder: Path) -> Population:
    """A member at its end; what it cost goes into its folder. Raises `Stopped` after a signal."""
    # A population of one: seeds can then be added.
    with (
        counted(folder),
        tqdm(desc=str(folder), total=config.steps, unit="step", disable=None, dynamic_ncols=True) as bar,
    ):
        show = lambda population: bar.update(population.step - bar.n)
        return train_population(folder, [config], images, warn=report.warn, show=show)


def score(population: Population, folder: Path, num: int) -> None:
    """Count the modes of `num` samples of the member, unless that was done; into its folder's scores.json."""
    network = load_stacked_classifier()
    key = {"step": population.step, "classifier": network.sha256, "sample_seed": SAMPLE_SEED, "num": num}
    known = _read(folder / "scores.json")
    if all(known.get(name) == value for name, value in key.items()):
        return
    modes = None  # of one that diverged
    if population.diverged[0] < 0:
        drawn = population[0].sample(num, SAMPLE_SEED)
        modes = modes_of(seen_labels(drawn))
        with replacing(folder / "samples.png") as new:
            pictures.grid(drawn[:PER_SYSTEM], PER_SYSTEM).save(new, "PNG")
    entry = {
        **key,
        "cpu_seconds": cpu_seconds(folder),
        "modes": modes,
        "config": to_json(population.configs[0]),
    }
    write_atomically(folder / "scores.json", json.dumps(entry, indent=1) + "\n")


def scored(options: Options) -> dict[str, list[dict[str, Any]]]:
    """What there is in the folder: the members' scores by system."""
    found = {
        system: [_read(path) for path in sorted(folder_of(options, system).glob("seed-*/scores.json"))]
        for system in SYSTEMS
    }
    return {system: members for system, members in found.items() if members}


def seen_labels(images: np.ndarray) -> np.ndarray:
    """The class [N] from 0 to 999 that the classifier sees in each of the images uint8 [N, 28, 28, 3]."""
    network = load_stacked_classifier()
    blocks = tqdm(range(0, len(images), BLOCK), desc="modes", leave=False, disable=None)
    labels = []
    for i in blocks:
        probabilities = network.apply(images[i : i + BLOCK])[1]
        assert probabilities is not None
        labels.append(probabilities.argmax(1))
    return np.concatenate(labels)


def references(options: Options, images: np.ndarray) -> dict[str, Any]:
    """The same for real images, those first in the train split, and for a uniform sampler (mean and deviation)."""
    folder = expanded(options.workdir)
    network = load_stacked_classifier()
    found = _read(folder / "real.json")
    if found.get("classifier") != network.sha256:
        found = {"classifier": network.sha256, "real": modes_of(seen_labels(images[: max(NUMBERS)]))}
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "real.json", json.dumps(found) + "\n")
    rng = np.random.default_rng(0)
    uniform = {str(n): [mode_kl(rng.integers(1000, size=n)) for _ in range(DRAWS)] for n in NUMBERS}
    return {
        "real": found["real"],
        "uniform": {n: [float(np.mean(x)), float(np.std(x, ddof=1))] for n, x in uniform.items()},
    }


def write(options: Options, known: dict[str, Any], scores: dict[str, list[dict[str, Any]]]) -> None:
    """The table, all its numbers, and a row of samples a system."""
    out = expanded(options.out)
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "stacked_mnist.json", json.dumps({**known, "systems": scores}, indent=1) + "\n")
    small, large = (str(n) for n in NUMBERS)
    lines = [
        f"| system | seeds | steps | modes of 1,000, at {int(small):,} | KL at {int(small):,} | KL at {int(large):,} "
        "| CPU minutes |",
        "|---" * 7 + "|",
    ]
    for system, members in scores.items():
        alive = [member["modes"] for member in members if member["modes"]]
        cells = [
            _cell([m[small][0] for m in alive], 4),
            *(_cell([m[n][1] for m in alive if n in m], 3) for n in (small, large)),
        ]
        steps = "/".join(f"{n:,}" for n in sorted({member["step"] for member in members}))
        costs = [member["cpu_seconds"] for member in members]
        minutes = "–" if None in costs else f"{np.mean(costs) / 60:.1f}"
        lines.append(
            f"| {system} | {len(alive)} of {len(members)} | {steps} | {' | '.join(cells)} | {minutes} |"
        )
    real, uniform = known["real"], known["uniform"]
    lines.append(f"| real images | | | {real[small][0]} | {real[small][1]:.4f} | {real[large][1]:.4f} | |")
    floors = " | ".join(f"{uniform[n][0]:.4f} ± {uniform[n][1]:.4f}" for n in (small, large))
    lines.append(f"| uniform sampler | | | 1000 | {floors} | |")
    write_atomically(out / "stacked_mnist.md", "\n".join(lines) + "\n")
    _draw(out / "stacked_mnist.png", options, list(scores))


def _cell(values: list[float], digits: int) -> str:
    found = spread(values)
    if found is None:
        return "–"
    return f"{found.mean:.{digits}g}" + ("" if found.sd is None else f" ± {found.sd:.2g}")


def _draw(path: Path, options: Options, systems: list[str]) -> None:
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(9, 0.62 * len(systems) + 0.1), layout="constrained", facecolor="white")
    all_axes = figure.subplots(len(systems), 1, squeeze=False)[:, 0]
    for axes, system in zip(all_axes, systems, strict=True):
        axes.set_axis_off()
        for file in sorted(folder_of(options, system).glob("seed-*/samples.png"))[:1]:
            axes.imshow(np.asarray(Image.open(file)))
        axes.text(-0.01, 0.5, system, ha="right", va="center", fontsize=9, transform=axes.transAxes)
    with replacing(path) as new:
        figure.savefig(new, dpi=120, format="png")


def folder_of(options: Options, system: str) -> Path:
    """Where a system's members are."""
    return expanded(options.workdir) / system.replace(", ", "-").replace(" ", "")


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def main(args: Sequence[str]) -> int:
    """The command. Returns the exit code."""
    options = cli.parse(Options, args, prog="python -m experiments.stacked_mnist", description=__doc__ or "")
    cli.use_compilation_cache()
    images, _ = data.load("stacked_mnist", "train")
    for system in options.systems:
        for seed in range(options.seed, options.seed + options.seeds):
            folder = folder_of(options, system) / f"seed-{seed}"
            score(train(config_of(system, seed, options.steps), images, folder), folder, options.num)
            write(options, references(options, images), scored(options))
    print((expanded(options.out) / "stacked_mnist.md").read_text())
    return 0


if __name__ == "__main__":
    cli.run(main)
