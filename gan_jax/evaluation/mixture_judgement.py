"""All that there is to say of samples of a mixture: scores, the modes' shares, and a picture of the plane."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gan_jax import __version__, plane
from gan_jax.errors import printable
from gan_jax.evaluation import table
from gan_jax.evaluation.judgement import Judged
from gan_jax.evaluation.mixtures import MixtureEvaluator
from gan_jax.evaluation.picture import draw_scores
from gan_jax.evaluation.protocol import choose
from gan_jax.evaluation.scores import Score
from gan_jax.evaluation.subjects import JudgedFile, JudgedRun
from gan_jax.metrics import class_histogram
from gan_jax.metrics.modes import nearest_modes
from gan_jax.storage import sha256_of_arrays


def judge_points(subject: JudgedRun | JudgedFile, evaluator: MixtureEvaluator) -> Judged:
    """Everything there is to say of one subject."""
    num, seed, mixture = evaluator.num, evaluator.seed, evaluator.network.mixture
    drawn = subject.images(evaluator)
    points, scores = choose(drawn, num, seed), evaluator.scores(drawn)
    nearest, _ = nearest_modes(points, mixture.means)
    shares = class_histogram(nearest, len(mixture.means))
    report: dict[str, Any] = {
        "gan_jax": __version__,
        "source": {**subject.source, "images_sha256": sha256_of_arrays({"images": points})},
        "dataset": evaluator.dataset,
        "scores": {score.name: score.to_json() for score in scores},
        "mode_shares": shares.tolist(),
    }
    labels = subject.labels(evaluator)
    if labels is not None:  # what a conditional run was asked for
        report["mode_accuracy"] = float(np.mean(nearest == choose(labels, num, seed)))
    # Of a file no discriminator is known.
    run = subject.gan if isinstance(subject, JudgedRun) else None
    shown = run.grid(num, seed) if run else plane.picture(points, mixture=mixture)
    return Judged(scores, report, partial(_draw, subject.caption, scores, shares, shown))


def _draw(title: str, scores: list[Score], shares: np.ndarray, shown: Image.Image, path: Path) -> None:
    """The plane at the left; scores and the modes' shares at the right; as a PNG."""
    from matplotlib.figure import Figure  # imported here: it takes half a second

    figure = Figure(figsize=(10, 5.4), layout="constrained", facecolor="white")
    figure.suptitle(f"{printable(title)}\n{table.protocol(scores[0])}", fontsize=9, parse_math=False)
    axes: Any = figure.subplot_mosaic([["plane", "scores"], ["plane", "shares"]], width_ratios=[1.15, 1])
    axes["plane"].imshow(np.asarray(shown))
    axes["plane"].set_axis_off()
    draw_scores(axes["scores"], scores)
    axes["shares"].bar(np.arange(len(shares)), shares)
    axes["shares"].axhline(1 / len(shares), color="grey", linestyle="--", linewidth=1, label="equal shares")
    axes["shares"].set_xlabel("mode", fontsize=8)
    axes["shares"].set_ylabel("share of the samples nearest to it", fontsize=8)
    axes["shares"].tick_params(labelsize=8)
    axes["shares"].legend(fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1, 1))
    figure.savefig(path, dpi=120, format="png")
