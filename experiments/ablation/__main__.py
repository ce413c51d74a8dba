"""One change at a time: which settings of a system are better, over seeds, on more than one data set?

    python -m experiments.ablation --seeds=5 --steps=5000 --data_dir=/usr/share/datasets/fashion-mnist
    python -m experiments.ablation --base=r3gan --changes z_dim=64 translation+cutout --seeds=3
    python -m experiments.ablation --base=best_conditional --changes penalty_weight=0.2

The first is some 50 changes, which take six to nine hours of a core: name the --changes that you ask about.

Each change's seeds train side by side, on as many images as the base's, and are judged by images of the train split
that no GAN has seen: the test images are left for the report of what is chosen. Writes ablation.md and ablation.json,
anew after each change. Rerun the same command to go on, or with more --changes beside those that are there.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from experiments.ablation.changes import BASE, CHANGES, DEFAULT, base_of, changed, changes_of, register
from experiments.ablation.results import Tried, protocols_of, write
from experiments.cost import counted, cpu_seconds
from gan_jax import Config, cli, data, report
from gan_jax.comparison.scoring import scores_of
from gan_jax.comparison.systems import folder_name
from gan_jax.config import PRESETS, to_json
from gan_jax.errors import UserError
from gan_jax.evaluation.protocol import VAL, Evaluator
from gan_jax.evaluation.reals import Reals, Source, held_out, load_reals
from gan_jax.evaluation.scores import FRECHET
from gan_jax.features.choice import choose_network
from gan_jax.options import COUNT, PATH, SEED, TEXT, Rule, check, choice, option, whole
from gan_jax.population_run import train_population
from gan_jax.storage import content_of, expanded

FAMILIES = (FRECHET, "precision and recall")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to try, how long, and where to."""

    base: str = option(
        DEFAULT,
        "The system that is changed.",
        Rule("", lambda name: choice("base", (DEFAULT, *PRESETS)).convert(name), metavar="{default,PRESET}"),
    )
    changes: tuple[str, ...] = option(
        (),
        "Names of changes, separated by spaces. Default: all that there are of this base.",
        choice("change", CHANGES),
        many=True,
    )
    datasets: tuple[str, ...] = option(
        ("mnist", "fashion_mnist"), "The data sets: names, FILE.npz or FOLDER.", TEXT, many=True
    )
    data_dir: str | None = option(
        None, "A folder with the original files of the data sets that do not come with the package.", PATH
    )
    seeds: int = option(5, "Seeds of each change.", whole(1, 10_000))
    seed: int = option(0, "The first of them.", SEED)
    steps: int = option(5000, "Steps of the base; a change takes as many images as they do.", COUNT)
    num: int | None = option(None, "Samples of each GAN to score. Default: 10,000, or all held out.", COUNT)
    workdir: str | None = option(
        None, "Folder of the GANs; rerun with the same one to go on. Default: runs/ablation-BASE-STEPS.", PATH
    )
    out: str | None = option(None, "Folder for ablation.md and ablation.json. Default: the workdir.", PATH)

    def __post_init__(self) -> None:
        """Check every field. Raises `UserError`."""
        check(self)
        for name in ("changes", "datasets"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise UserError(f"--{name} names one twice: give each once.")
        if not self.datasets:
            raise UserError("--datasets must name one data set or more.")
        names = [folder_name(data.dataset_name(dataset)) for dataset in self.datasets]
        if alike := next((name for name in names if names.count(name) > 1), None):
            raise UserError(
                f"--datasets has two of the name {alike}, and both would have its folder: rename one."
            )

    @property
    def folder(self) -> Path:
        """That of the GANs."""
        return expanded(self.workdir or f"runs/ablation-{self.base}-{self.steps}")


def ablate(options: Options) -> Path:
    """Train, score and write, as the command does; returns the folder of the results.

    Raises `UserError` for what the user can mend, `Stopped` after a signal.
    """
    register()
    base = base_of(options.base)
    there = changes_of(base)
    if other := next((name for name in options.changes if name not in there), None):
        raise UserError(
            f"--changes={other} is no change of {options.base}, which has these values already, or has no "
            "penalties, or other nets: leave it out."
        )
    folder = options.folder
    out = expanded(options.out) if options.out else folder
    sets = {dataset: _split(dataset, options, base) for dataset in options.datasets}
    judges = {dataset: judge for dataset, (_, judge) in sets.items()}
    # The base first: all others are held against it.
    names = [BASE, *(name for name in options.changes or there if name != BASE)]
    kept = _kept(out, names, options, judges)
    out.mkdir(parents=True, exist_ok=True)
    tried: dict[str, dict[str, Tried]] = {}
    for name in names:
        tried[name] = {}
        for dataset, (reals, judge) in sets.items():
            config = dataclasses.replace(changed(base, name, options.steps), **_source(dataset, options))
            place = folder / folder_name(data.dataset_name(dataset)) / folder_name(name)
            tried[name][dataset] = _tried(config, options, reals, judge, place)
        if kept <= tried.keys():  # else an interrupted rerun would leave less than there was
            write(out, tried, judges, _about(options))
        print(f"{name}: {', '.join(str(found) for found in tried[name].values())}", flush=True)
    return out


def _kept(out: Path, names: Sequence[str], options: Options, judges: Mapping[str, Evaluator]) -> set[str]:
    """The changes that the folder has results of. Raises `UserError` where they would be lost."""
    try:
        record = json.loads(content_of(out / "ablation.json"))
        there = {name: record[name] for name in ("base", "steps", "seeds", "protocols")}
        lost = [name for name in record["changes"] if name not in names]
    except (OSError, ValueError, TypeError, KeyError):
        return set()
    about = {**_about(options), "protocols": protocols_of(judges)}
    if any(about[name] != value for name, value in there.items()):
        raise UserError(
            f"{out}/ablation.json is of another ablation: give another --out, or another --workdir."
        )
    if lost:
        raise UserError(
            f"{out}/ablation.json has {', '.join(lost)}, and --changes leaves that out: name it as well, or give "
            "another --out."
        )
    return set(record["changes"])


def _source(dataset: str, options: Options) -> dict[str, Any]:
    has_files = dataset in data.DATASETS and dataset not in ("mnist", "stacked_mnist")
    return {"dataset": dataset, "data_dir": options.data_dir if has_files else None}


def _split(dataset: str, options: Options, base: Config) -> tuple[Reals, Evaluator]:
    """What GANs are trained on, and what judges them."""
    whole_set = load_reals(Source(dataset), _source(dataset, options)["data_dir"])
    if data.are_points(whole_set.train_images.shape[1:]):
        raise UserError(f"--datasets={dataset} holds points, and the scores are of images.")
    if base.conditional and whole_set.train_labels is None:
        raise UserError(f"--base={options.base} needs labels, and {dataset} has none: leave one of them out.")
    reals = held_out(whole_set)
    judge = Evaluator(
        reals.test_images,
        reals.train_images,
        network=choose_network(whole_set.train_images, whole_set.train_labels, reals.name),
        num=options.num,
        name=reals.name,
        families=FAMILIES,
        split=VAL,
        train_labels=reals.train_labels,
        progress=lambda x, title: x,
    )
    judge.check_frechet()
    return reals, judge


def _tried(config: Config, options: Options, reals: Reals, judge: Evaluator, place: Path) -> Tried:
    """The scores of a change's seeds; trained, or taken from the folder."""
    configs = [dataclasses.replace(config, seed=options.seed + i) for i in range(options.seeds)]
    folder = place / f"seeds-{configs[0].seed}-{configs[-1].seed}"
    with counted(folder):
        population = train_population(
            folder,
            configs,
            reals.train_images,
            reals.train_labels if config.conditional else None,
            warn=report.warn,
        )
    scored = scores_of(population, judge, folder)
    return Tried(
        to_json(config), config.steps or 0, [c.seed for c in configs], scored.scores, cpu_seconds(folder)
    )


def _about(options: Options) -> Mapping[str, Any]:
    return {
        "base": options.base,
        "steps": options.steps,
        "seeds": [options.seed, options.seed + options.seeds - 1],
        "device": jax.devices()[0].device_kind,
    }


def main(args: Sequence[str]) -> int:
    """The command. Returns the exit code."""
    options = cli.parse(Options, args, prog="python -m experiments.ablation", description=__doc__ or "")
    cli.use_compilation_cache()
    print((ablate(options) / "ablation.md").read_text())
    return 0


if __name__ == "__main__":
    cli.run(main)
