"""Random search over the settings of several GANs: what is each one's best, and what does a budget of settings buy?

    python -m experiments.study                                       # four systems × 8 settings, about half an hour
    python -m experiments.study --systems wgan r3gan --draws=100 --updates=15625 --seeds=50 --model=conv

The space is that of Lucic 2018 ("Are GANs Created Equal?"), their size is the second command's. Each system's settings
train side by side, those of one number of D updates in one program. The best, by images of the train split that no GAN
sees, is trained anew with other seeds and scored on the test split. Writes study.md, study.png and study.json. Rerun
the same command to go on.
"""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.study.results import Found, Protocol, choose_best, write
from experiments.study.space import D_STEPS, SYSTEMS, base_of, draw
from gan_jax import Config, cli, report
from gan_jax.comparison.scoring import scores_of
from gan_jax.errors import UserError
from gan_jax.evaluation.protocol import Evaluator
from gan_jax.evaluation.reals import Data, Reals, load_reals, split_train
from gan_jax.evaluation.scores import FRECHET
from gan_jax.features.choice import choose_network
from gan_jax.fields import Nets
from gan_jax.options import COUNT, PATH, SEED, check, choice, option, options_of, whole
from gan_jax.parts import facts_of
from gan_jax.population import prepare_population
from gan_jax.population_run import train_population
from gan_jax.storage import expanded

METRIC = "frechet_distance"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Data):
    """What to search, how long, and where to."""

    systems: tuple[str, ...] = option(
        ("ns_gan", "lsgan", "wgan_gp", "hinge_sn"),
        f"The systems, separated by spaces, out of {', '.join(SYSTEMS)}.",
        choice("system", SYSTEMS),
        many=True,
    )
    draws: int = option(8, "Settings drawn for each system.", whole(1, 10_000))
    updates: int = option(600, "D updates of each GAN; with d_steps 5 a fifth as many of G.", COUNT)
    seeds: int = option(5, "Seeds with which the best setting is trained anew.", whole(1, 10_000))
    model: str = option("conv_small", options_of(Nets)["model"].help, options_of(Nets)["model"].rule)
    num: int | None = option(
        None, "Samples of each GAN to score. Default: 10,000, or all real images.", COUNT
    )
    seed: int = option(0, "Of the drawing; the GANs' seeds count from it.", SEED)
    workdir: str | None = option(
        None, "Folder of the GANs; rerun with the same one to go on. Default: runs/study-DATASET.", PATH
    )
    out: str | None = option(None, "Folder for study.md, .png, .json. Default: the workdir.", PATH)

    def __post_init__(self) -> None:
        """Check every field. Raises `UserError`."""
        check(self)
        if not self.systems or len(set(self.systems)) < len(self.systems):
            raise UserError("--systems must name one system or more, each once.")


def study(options: Options) -> dict[str, Found]:
    """Search, train the best anew and write, as the command does; returns what was found of each system.

    Raises `UserError` for what the user can mend, `Stopped` after a signal.
    """
    reals = load_reals(options.source, options.data_dir)
    folder = expanded(options.workdir or f"runs/study-{reals.name}")
    out = expanded(options.out) if options.out else folder
    seen, held_out = split_train(len(reals.train_images))
    images = reals.train_images[seen]
    validation, test = _evaluators(reals, seen, held_out, options.num)
    bases = {system: _base(system, options) for system in options.systems}
    for base in bases.values():
        prepare_population([base], facts_of(images, None))
    protocol = _protocol(options, validation, test, len(images))
    out.mkdir(parents=True, exist_ok=True)
    entries: dict[str, Found] = {}
    for system, base in bases.items():
        configs = draw(base, options.draws, options.updates, options.seed)
        _, noise = validation.statistics.bounds(FRECHET)[METRIC]
        scores, diverged = [noise] * len(configs), [-1] * len(configs)
        for d_steps in D_STEPS:
            chosen = [i for i, config in enumerate(configs) if config.d_steps == d_steps]
            place = folder / system / f"d_steps={d_steps}"
            found, lost = _scores(place, [configs[i] for i in chosen], images, validation)
            for i, score, at in zip(chosen, found, lost, strict=True):
                scores[i], diverged[i] = noise if score is None else score, at
        best = choose_best(scores, diverged)
        anew = [] if best is None else _seeds_of(configs[best], options)
        rerun, _ = _scores(folder / system / "best", anew, images, test)
        entries[system] = Found(configs, diverged, scores, rerun)
        write(out, entries, protocol)
        print(f"{system}: best {min(scores):.3g} of {len(scores)} settings, written to {out}", flush=True)
    return entries


def _base(system: str, options: Options) -> Config:
    last = options.seed + options.draws + options.seeds
    if last > 2**32:
        raise UserError(f"--seed={options.seed} is too high: the GANs' seeds go past {2**32 - 1}.")
    return base_of(
        system,
        model=options.model,
        seed=options.seed,
        dataset=options.source.dataset,
        data_dir=options.data_dir,
        image_size=options.image_size,
        channels=options.channels,
    )


def _seeds_of(best: Config, options: Options) -> list[Config]:
    """The setting with other seeds than the search's: that it was lucky with its own says nothing of it."""
    first = options.seed + options.draws
    return [dataclasses.replace(best, seed=first + i) for i in range(options.seeds)]


def _evaluators(
    reals: Reals, seen: np.ndarray, held_out: np.ndarray, num: int | None
) -> tuple[Evaluator, Evaluator]:
    network = choose_network(reals.train_images, reals.train_labels, reals.name)
    train = reals.train_images[seen]
    validation, test = (
        Evaluator(some, train, network=network, num=num, name=reals.name, families=[FRECHET], split=split)
        for some, split in ((reals.train_images[held_out], "validation"), (reals.test_images, "test"))
    )
    return validation, test


def _scores(
    folder: Path, configs: list[Config], images: np.ndarray, evaluator: Evaluator
) -> tuple[list[float | None], list[int]]:
    """Each GAN's score, None where it was lost, and the step at which; trained or taken from the folder."""
    if not configs:
        return [], []
    population = train_population(
        folder,
        configs,
        images,
        warn=report.warn,
        show=lambda population: print(
            f"{folder}: step {population.step} of {population.plan.total}", flush=True
        ),
    )
    scored = scores_of(population, evaluator, folder)
    return [scores.get(METRIC) for scores in scored.scores], scored.diverged


def _protocol(options: Options, validation: Evaluator, test: Evaluator, num_train: int) -> Protocol:
    given = {name: getattr(options, name) for name in options_of(options) if name not in ("workdir", "out")}
    flags = [f"--{name}={value}" for name, value in given.items() if value is not None and name != "systems"]
    floors = [evaluator.floors()[METRIC] for evaluator in (validation, test)]
    return Protocol(
        dataset=test.dataset,
        model=options.model,
        updates=options.updates,
        seeds=options.seeds,
        num_train=num_train,
        validation=validation.name(METRIC),
        test=test.name(METRIC),
        floors=(floors[0], floors[1]),
        sha256=test.network.sha256,
        command=shlex.join(["python", "-m", "experiments.study", "--systems", *options.systems, *flags]),
    )


def main(args: Sequence[str]) -> int:
    """The command. Returns the exit code."""
    options = cli.parse(Options, args, prog="python -m experiments.study", description=__doc__ or "")
    cli.use_compilation_cache()
    study(options)
    return 0


if __name__ == "__main__":
    cli.run(main)
