"""What weight clipping does to WGAN's critic, beside the gradient penalty: Gulrajani 2017, §3 and figure 1, on MNIST.

    python -m experiments.clipping

The same nets, loss, optimizer and rates for all; only what holds the critic back differs. An optimal critic under a
Lipschitz bound K has a gradient of norm K almost everywhere between real and generated images, and it points from the
one to the other (Gulrajani 2017, proposition 1). A linear critic has such norms too, but one direction for all images:
the cosine of two images' gradients tells them apart. Writes clipping.png and clipping.md to
experiments/results/. Expect a quarter of an hour on two quiet cores.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from gan_jax import Config, Gan, Population, cli, data, fit_population
from gan_jax.evaluation.protocol import Evaluator
from gan_jax.evaluation.scores import FRECHET
from gan_jax.options import COUNT, PATH, check, option
from gan_jax.storage import expanded, replacing, write_atomically

CLIPS = (0.01, 0.03, 0.1)
NUM = 1024  # images between real and generated ones
AT_BOUND = 0.99  # a weight this near to ±clip, as a share of it, is at the bound
SAMPLES = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How long to train, and where to write."""

    steps: int = option(2000, "Steps of each run, of five updates of the critic each.", COUNT)
    out: str = option("experiments/results", "Folder to write to.", PATH)

    def __post_init__(self) -> None:
        """Check every field. Raises `UserError`."""
        check(self)


class Critic(NamedTuple):
    """A trained critic: its kernels' entries, ∇D between real and generated images, and G's samples.

    norms: ‖∇D‖ [NUM]. cosine: the mean over all pairs of these gradients, 1 for a linear critic.
    """

    clip: float | None
    weights: np.ndarray
    norms: np.ndarray
    cosine: float
    frechet: float
    samples: np.ndarray

    @property
    def at_bound(self) -> float | None:
        """The share of the kernels' entries that the clipping holds."""
        return None if self.clip is None else float(np.mean(np.abs(self.weights) >= AT_BOUND * self.clip))

    @property
    def spread(self) -> float:
        """Standard deviation of the norms over their mean."""
        return float(self.norms.std() / self.norms.mean())


def configs_of(options: Options) -> dict[str, list[Config]]:
    """The runs: all clips side by side, and the penalty."""
    import experiments.presets  # noqa: F401  # registers wgan_conv, and not for whoever imports this file

    base = Config(preset="wgan_conv", steps=options.steps)
    clipped = [dataclasses.replace(base, clip=clip) for clip in CLIPS]
    return {"clip": clipped, "gp": [dataclasses.replace(base, clip=0.0, penalty=("gp",))]}


def train(configs: list[Config], images: np.ndarray, bar: tqdm) -> Population:
    """The runs at their end."""
    for population in fit_population(configs, images):
        bar.update((population.step - population.begin) * len(configs))
    return population


def seen(gan: Gan, images: np.ndarray, judge: Evaluator) -> Critic:
    """What there is to see of a trained critic and of its generator."""
    drawn = gan.sample(judge.num, seed=0)
    share = jax.random.uniform(jax.random.key(0), (NUM, 1, 1, 1))
    between = share * data.to_float(images[:NUM]) + (1 - share) * data.to_float(drawn[:NUM])
    gradients = np.asarray(jax.grad(lambda x: jnp.sum(gan.discriminate(x)))(between)).reshape(NUM, -1)
    norms = np.linalg.norm(gradients, axis=1)
    kernels = [np.ravel(x) for x in jax.tree.leaves(gan.state.d_params) if x.ndim > 1]
    return Critic(
        gan.config.clip or None,
        np.concatenate(kernels),
        norms,
        mean_cosine(gradients / norms[:, None]),
        judge.frechet(drawn),
        drawn[:SAMPLES],
    )


def mean_cosine(units: np.ndarray) -> float:
    """The mean cosine of two of these vectors of length 1, [N, D], over all pairs."""
    count = len(units)
    return float((np.sum(np.sum(units, 0) ** 2) - count) / (count * (count - 1)))


def table(critics: dict[str, Critic], options: Options) -> str:
    """A row for each critic."""
    lines = [
        f"# WGAN's critic, clipped and penalised, after {options.steps:,} steps",
        "",
        "Norms are those of the critic's gradient at points between real and generated images, and the spread is their "
        "standard deviation over their mean. The cosine is that of two points' gradients, over all pairs: 1 for a "
        "linear critic.",
        "",
        "| critic | share of weights at the bound | mean norm | spread of the norms | mean cosine | Fréchet distance |",
        "|---|---|---|---|---|---|",
    ]
    for name, critic in critics.items():
        held = "" if critic.at_bound is None else f"{critic.at_bound:.0%}"
        lines.append(
            f"| {name} | {held} | {critic.norms.mean():.3g} | {critic.spread:.2f} | {critic.cosine:.2f} "
            f"| {critic.frechet:.2f} |"
        )
    return "\n".join([*lines, ""])


def draw(critics: dict[str, Critic], options: Options, path: Path) -> None:
    """A column for each critic: its weights, the norms of its gradient, and samples."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.6 * len(critics), 6), layout="constrained")
    grid = figure.subplots(3, len(critics), height_ratios=(1, 1, 0.6))
    for column, (name, critic) in zip(grid.T, critics.items(), strict=True):
        weights, norms, samples = column
        weights.set_title(name, fontsize=11)
        weights.hist(critic.weights, bins=41, color="tab:gray")
        weights.set_xlabel("critic's weights")
        norms.hist(critic.norms / critic.norms.mean(), bins=np.linspace(0, 3, 41), color="tab:blue")
        norms.axvline(1, color="tab:red", linewidth=1)
        norms.set_xlabel("gradient's norm / its mean")
        for axes in (weights, norms):
            axes.set_yticks([])
        rows = critic.samples[..., 0].reshape(2, SAMPLES // 2, *critic.samples.shape[1:3])
        samples.imshow(np.block([list(row) for row in rows]), cmap="gray")
        samples.axis("off")
    figure.suptitle(
        f"WGAN on MNIST after {options.steps:,} steps; red: where an optimal critic's norms would all be",
        fontsize=11,
    )
    with replacing(path) as new:
        figure.savefig(new, dpi=110, format="png")


def main(args: Sequence[str]) -> None:
    """The command."""
    options = cli.parse(Options, args, prog="python -m experiments.clipping", description=__doc__ or "")
    cli.use_compilation_cache()
    folder = expanded(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = data.load("mnist", "train")
    test_images, _ = data.load("mnist", "test")
    judge = Evaluator(
        test_images,
        images,
        train_labels=labels,
        name="mnist",
        families=(FRECHET,),
        progress=lambda x, title: x,
    )
    critics: dict[str, Critic] = {}
    runs = configs_of(options)
    with tqdm(total=options.steps * sum(map(len, runs.values())), unit="step", disable=None) as bar:
        for configs in runs.values():
            population = train(configs, images, bar)
            for i, config in enumerate(configs):
                name = f"clipped at {config.clip}" if config.clip else "gradient penalty"
                critics[name] = seen(population[i], images, judge)
    draw(critics, options, folder / "clipping.png")
    text = table(critics, options)
    write_atomically(folder / "clipping.md", text)
    print(text)


if __name__ == "__main__":
    cli.run(main)
