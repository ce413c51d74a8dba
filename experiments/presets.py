"""Every preset on real MNIST, side by side: losses, time, scores, and a picture of each.

    python -m experiments.presets --out=experiments/results

Trains each preset with the small convolutional nets (seed 0) and the default system to their ends, evaluates all on
10,000 samples, and writes presets.md and presets.png. Runs in --runs go on where they are, finished ones are taken as
they are. Expected on two quiet CPU cores: under 10 minutes a run; the figures are in README.md.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from gan_jax.advice import CONV_WGAN_FLAGS
from gan_jax.config import PRESETS

FLAGS = {
    # The tutorial's losses and rate. Its β₁ and raw weights are for its own nets: on these they leave samples at 12.5
    # (Fréchet distance, 20 epochs at batch 128).
    "gan": ["--model=conv_small", "--batch_size=64", "--beta1=0.5", "--ema=0.999", "--epochs=20"],
    "wgan": ["--model=conv_small", *CONV_WGAN_FLAGS, "--steps=10000"],
}

COLUMNS = (
    "frechet_distance",
    "kernel_distance",
    "inception_score",
    "precision",
    "recall",
    "density",
    "coverage",
    "class_balance",
)


def train(name: str, flags: list[str], runs: Path) -> None:
    """Train one system, or go on with it."""
    command = [sys.executable, "-m", "gan_jax.train", *flags, f"--workdir={runs / name}"]
    print("+", *command, flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def row(name: str, folder: Path) -> str:
    """A line of the table: the last epoch's mean losses, the time and the scores."""
    log = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = np.diff([0] + [r["step"] for r in log])
    seconds = sum(steps / [r["steps_per_s"] for r in log])
    last = [r for r in log if r["epoch"] == log[-1]["epoch"]]
    d_loss, g_loss = (float(np.mean([r[key] for r in last])) for key in ("d_loss", "g_loss"))
    scores = json.loads((folder / "evaluation.json").read_text())["scores"]
    values = {full.split("/")[0]: score["value"] for full, score in scores.items()}
    cells = [f"{values[column]:.2f}" for column in COLUMNS]
    return (
        f"| {name} | {log[-1]['epoch']} | {d_loss:.3f} | {g_loss:.3f} | {seconds:.0f} | "
        + " | ".join(cells)
        + " |"
    )


def bounds(folder: Path) -> list[str]:
    """Two lines: the scores of real train images and of noise."""
    scores = json.loads((folder / "evaluation.json").read_text())["scores"]
    lines = []
    for key, label in (("floor", "real train images"), ("noise", "uniform noise")):
        values = {full.split("/")[0]: score[key] for full, score in scores.items()}
        lines.append(
            f"| {label} | | | | | " + " | ".join(f"{values[column]:.2f}" for column in COLUMNS) + " |"
        )
    return lines


def picture(folders: dict[str, Path]) -> Image.Image:
    """The last grid of each run under its name, in four columns."""
    page = Image.new("L", (4 * 252 + 10, -(-len(folders) // 4) * 266 + 4), 255)
    draw = ImageDraw.Draw(page)
    for i, (name, folder) in enumerate(folders.items()):
        left, top = i % 4 * 252 + 10, i // 4 * 266 + 18
        with Image.open(folder / "samples.png") as grid:
            page.paste(grid, (left, top))
        draw.text((left, top - 14), name, fill=0)
    return page


def main() -> None:
    """Train, evaluate, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/presets"), help="folder of the runs")
    parser.add_argument("--out", type=Path, default=Path("experiments/results"), help="folder of the results")
    options = parser.parse_args()
    systems = {name: [f"--preset={name}", *FLAGS.get(name, [])] for name in PRESETS}
    systems["--loss=hinge"] = ["--loss=hinge"]
    folders = {name: options.runs / name.strip("-") for name in systems}
    for name, flags in systems.items():
        train(folders[name].name, flags, options.runs)
    evaluate = [sys.executable, "-m", "gan_jax.evaluate", "--workdir", *map(str, folders.values())]
    subprocess.run(evaluate, check=True)
    lines = [
        "| system | epochs | D loss | G loss | seconds | "
        + " | ".join(c.replace("_", " ") for c in COLUMNS)
        + " |",
        "|---" * (5 + len(COLUMNS)) + "|",
        *(row(name, folders[name]) for name in systems),
        *bounds(next(iter(folders.values()))),
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "presets.md").write_text("\n".join(lines) + "\n")
    picture(folders).save(options.out / "presets.png", optimize=True)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
