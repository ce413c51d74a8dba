"""Does generated data help? Classifiers of real images, of a conditional GAN's samples alone, and of both.

    python -m experiments.augmentation                                   # 100, 1,000 and all images, half an hour
    python -m experiments.augmentation --gan_steps=9370 --steps=4000     # ten passes over all images, hours

The GAN learns from the same real images as the classifier, and from no others. The accuracy of the samples alone is the
classification accuracy score of Ravuri & Vinyals 2019. Writes augmentation.md, augmentation.png and augmentation.json.
Rerun the same command to go on.
"""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.augmentation.images import balanced, mixed
from experiments.augmentation.results import SOURCES, Accuracies, Cell, write
from gan_jax import Config, Gan, cli, report
from gan_jax.config import PRESETS
from gan_jax.errors import UserError
from gan_jax.evaluation.reals import Data, Reals, load_reals
from gan_jax.features.classifier import network_of, save_variables
from gan_jax.fields import Nets
from gan_jax.labels import check_without_gaps
from gan_jax.options import COUNT, PATH, check, choice, option, options_of, whole
from gan_jax.population_run import train_population
from gan_jax.storage import expanded
from gan_jax.train_classifier import accuracy, train_classifier

BATCH_SIZE = 64  # of the classifiers
SHOWN = 2  # samples of each class in the figure
# The default system as it was when the table was made.
DEFAULT = "--preset=hinge in batches of 64 and with beta1=0.5"
SYSTEM: dict[str, Any] = {"preset": "hinge", "batch_size": 64, "beta1": 0.5}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Data):
    """How much of what to train, and where to."""

    sizes: tuple[int, ...] = option(
        (100, 1000, 60_000), "Numbers of real images, separated by spaces.", COUNT, many=True
    )
    seeds: int = option(3, "Seeds: of the choice of images, the GAN and the classifier.", whole(1, 1000))
    preset: str | None = option(None, f"The GAN's system. Default: {DEFAULT}.", choice("preset", PRESETS))
    model: str = option("conv_small", options_of(Nets)["model"].help, options_of(Nets)["model"].rule)
    gan_steps: int = option(1500, "Steps of each GAN.", COUNT)
    samples: int = option(60_000, "Samples drawn of each GAN.", whole(1, 1_000_000))
    steps: int = option(1000, "Steps of each classifier.", COUNT)
    workdir: str | None = option(
        None,
        "Folder of the GANs and classifiers; rerun with the same one to go on. Default: runs/augmentation-DATASET.",
        PATH,
    )
    out: str | None = option(None, "Folder for augmentation.md, .png, .json. Default: the workdir.", PATH)

    def __post_init__(self) -> None:
        """Check every field. Raises `UserError`."""
        check(self)
        if not self.sizes or len(set(self.sizes)) < len(self.sizes):
            raise UserError("--sizes must name one number of images or more, each once.")


def augmentation(options: Options) -> dict[Cell, float | None]:
    """Train all of it and write the results, as the command does; returns the test accuracies, None without samples.

    Raises `UserError` for what the user can mend, `Stopped` after a signal.
    """
    reals = load_reals(options.source, options.data_dir)
    train_labels, _ = _labels(reals)
    _check_sizes(options, train_labels)
    folder = expanded(options.workdir or f"runs/augmentation-{reals.name}")
    out = expanded(options.out) if options.out else folder
    for size in options.sizes:
        _config(options, size, 0)
    folder.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    accuracies = Accuracies(folder / "accuracies.json", _protocol(options, reals))
    shown: dict[int, np.ndarray] = {}
    for seed in range(options.seeds):
        for size in options.sizes:
            chosen = balanced(train_labels, size, seed)
            images, labels = reals.train_images[chosen], train_labels[chosen]
            place = folder / f"{size}-{seed}"
            gan = _gan(place / "gan", _config(options, size, seed), images, labels)
            if gan is not None:
                shown.setdefault(size, gan.sample(SHOWN * int(labels.max() + 1)))
            cells = [Cell(size, seed, source) for source in SOURCES]
            if not accuracies.known.keys() >= set(cells):
                _learn(
                    place,
                    cells,
                    _data(images, labels, gan, options.samples),
                    reals,
                    options.steps,
                    accuracies,
                )
        write(out, accuracies, options.sizes, range(seed + 1), shown, _command(options))
    return {
        cell: value
        for cell, value in accuracies.known.items()
        if cell.size in options.sizes and cell.seed < options.seeds
    }


def _labels(reals: Reals) -> tuple[np.ndarray, np.ndarray]:
    if reals.train_labels is None or reals.test_labels is None:
        raise UserError(f"{reals.name} has no labels: a classifier and a conditional GAN need them.")
    check_without_gaps(reals.train_labels)
    return reals.train_labels, reals.test_labels


def _check_sizes(options: Options, labels: np.ndarray) -> None:
    classes = int(labels.max()) + 1
    for size in options.sizes:
        if not classes <= size <= len(labels):
            raise UserError(
                f"--sizes={size} is not allowed: there are {len(labels)} train images, and {classes} classes, "
                "of each of which one at least is needed."
            )


def _config(options: Options, size: int, seed: int) -> Config:
    # A preset's own nets yield to --model, whose default learns the most in a few minutes.
    own = {"preset": options.preset} if options.preset else SYSTEM
    config = Config(
        **own,
        conditional=True,
        model=options.model,
        steps=options.gan_steps,
        seed=seed,
        dataset=options.source.dataset,
        data_dir=options.data_dir,
        image_size=options.image_size,
        channels=options.channels,
    )
    return dataclasses.replace(config, batch_size=min(config.batch_size, size))


def _gan(folder: Path, config: Config, images: np.ndarray, labels: np.ndarray) -> Gan | None:
    """The GAN, trained or taken from its folder; None where it diverged."""
    population = train_population(folder, [config], images, labels, warn=report.warn)
    return None if population.diverged[0] >= 0 else population[0]


Labelled = tuple[np.ndarray, np.ndarray]  # images uint8 [n, H, W, C] and labels [n]


def _data(images: np.ndarray, labels: np.ndarray, gan: Gan | None, num: int) -> dict[str, Labelled | None]:
    """What a classifier of each source is trained on; None where the samples lack."""
    if gan is None:
        return {"real": (images, labels), "generated": None, "both": None}
    samples, classes = gan.sample(num), np.asarray(gan.classes(num))
    both = mixed(images, samples), mixed(labels, classes)
    return {"real": (images, labels), "generated": (samples, classes), "both": both}


def _learn(
    folder: Path,
    cells: Sequence[Cell],
    data: dict[str, Labelled | None],
    reals: Reals,
    steps: int,
    accuracies: Accuracies,
) -> None:
    """Train those classifiers of the cells that are not known yet."""
    for cell in cells:
        if cell in accuracies.known:
            continue
        found = data[cell.source]
        value = None if found is None else _accuracy(folder, cell, *found, reals, steps)
        accuracies.add(cell, value)
        words = "the GAN diverged" if value is None else f"{value:.2%}"
        print(f"{cell.size} images, seed {cell.seed}, {cell.source}: {words}", flush=True)


def _accuracy(
    folder: Path, cell: Cell, images: np.ndarray, labels: np.ndarray, reals: Reals, steps: int
) -> float:
    """Of a classifier trained on these images, which is left in the folder, on the whole test split."""
    _, test_labels = _labels(reals)
    variables = train_classifier(
        images,
        labels,
        augment=lambda key, images: images,  # generated images are all that is added
        steps=steps,
        batch_size=BATCH_SIZE,
        seed=cell.seed,
    )
    path = folder / f"{cell.source}.npz"
    sha256 = save_variables(path, variables)
    network = network_of(f"{reals.name}-{cell.source}", path, reals.test_images.shape[1:], sha256)
    return accuracy(network, reals.test_images, test_labels)


def _protocol(options: Options, reals: Reals) -> dict[str, Any]:
    return {
        "dataset": reals.name,
        "gan": f"{'--preset=' + options.preset if options.preset else DEFAULT}, {options.model}",
        "gan_steps": options.gan_steps,
        "samples": options.samples,
        "steps": options.steps,
        "batch_size": BATCH_SIZE,
        "test_images": len(reals.test_images),
    }


def _command(options: Options) -> str:
    given = {
        name: getattr(options, name)
        for name in options_of(options)
        if name not in ("workdir", "out", "sizes")
    }
    flags = [f"--{name}={value}" for name, value in given.items() if value is not None]
    sizes = ["--sizes", *map(str, options.sizes)]
    return shlex.join(["python", "-m", "experiments.augmentation", *sizes, *flags])


def main(args: Sequence[str]) -> int:
    """The command. Returns the exit code."""
    options = cli.parse(Options, args, prog="python -m experiments.augmentation", description=__doc__ or "")
    cli.use_compilation_cache()
    augmentation(options)
    return 0


if __name__ == "__main__":
    cli.run(main)
