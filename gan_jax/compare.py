"""Compare systems over seeds: each system's seeds train side by side, and every score comes with its spread.

    python -m gan_jax.compare --systems hinge r3gan wgan_gp --seeds=5
    python -m gan_jax.compare --systems hinge --vary g_learning_rate=1e-4,3e-4,1e-3 --seeds=3 --steps=2000
    python -m gan_jax.compare --systems hinge r3gan --seeds=50 --workdir=/shared/fifty --ray=auto

Writes report.md, results.json, results.csv, curves.png and a grid of samples a system. Rerun the same command to go on.
Expect the time of the single runs one after the other on a CPU; on an accelerator far less. With --ray the members
spread over a cluster's machines, and the report is the same.
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from gan_jax import cli, data, report
from gan_jax.comparison.groups import groups_of, join
from gan_jax.comparison.results import FILES, Scored, write
from gan_jax.comparison.scoring import scores_of
from gan_jax.comparison.systems import FOREIGN, Options, folder_name, systems_of, values_of_file
from gan_jax.config import Config, penalties_of
from gan_jax.errors import UserError
from gan_jax.evaluation.named import Judge, evaluator_for
from gan_jax.parts import Facts, facts_of
from gan_jax.population import Population, prepare_population
from gan_jax.population_run import check_same, train_population
from gan_jax.step_memory import check_members_fit
from gan_jax.storage import content_of, expanded
from gan_jax.training import images_of
from gan_jax.workdir import placed

DESCRIPTION = """Compare systems over seeds. Rerun the same command to go on.
The options of gan_jax.train are for all systems. Leave out --preset and --loss, which --systems names, --eval_every and
--tensorboard, since all are scored at their end. There is no --time: systems of different speed train for equally many
steps. In place of the options of several processes there is --ray."""
FILES_OF_A_POPULATION = ("config.json", "metrics.jsonl", "scores.json", "samples.png")


def compare(options_: Options) -> Path:
    """Train, evaluate and report, as the command does; returns the folder.

    Raises `UserError` for what the user can mend, `Stopped` after a signal.
    """
    systems = systems_of(options_)
    first = next(iter(systems.values()))[0]
    own = options_.workdir
    folder = expanded(_default_folder(options_, first) if own is None else own)
    systems = {label: [placed(config, folder) for config in configs] for label, configs in systems.items()}
    first = next(iter(systems.values()))[0]
    with _cluster(options_.ray) as elsewhere:
        images, labels = images_of(first)
        conditional = any(configs[0].conditional for configs in systems.values())
        facts = facts_of(images, labels, conditional=conditional)
        _check(folder, systems, facts)
        prepare = functools.partial(prepare_population, facts=facts, here=elsewhere is None)
        prepared = {label: prepare(configs) for label, configs in systems.items()}
        totals = {label: course.total for label, (_, course) in prepared.items()}
        dataset = data.dataset_name(first.dataset)
        print(f"{len(systems)} systems × {options_.seeds} seeds on {dataset}, in {folder}", flush=True)
        if elsewhere is None:
            evaluator = judge(first.dataset, first.data_dir, first.image_size, first.channels, options_.num)
            for label, configs in systems.items():
                if not (folder / folder_name(label)).exists():
                    check_members_fit(configs, *prepared[label], facts)
            entries = _train(systems, totals, images, labels, evaluator, folder)
            write(folder, entries, evaluator, dataset=dataset)
        else:
            elsewhere(options_, systems, totals, folder)
    print((folder / "report.md").read_text(encoding="utf-8"))
    print(f"Written: {folder}/report.md, results.json, results.csv, curves.png and a grid for each system")
    return folder


def _check(folder: Path, systems: Mapping[str, Sequence[Config]], facts: Facts) -> None:
    """Raises `UserError`, before any work, for what would come out when a system's turn has come, or at the end."""
    if (folder / "config.json").exists():
        raise UserError(f"{folder} holds a run or a population: give the comparison a --workdir of its own.")
    written = [folder / name for name in FILES]
    for label, configs in systems.items():
        own = folder / folder_name(label)
        for group in groups_of(own, configs, len(configs)):
            check_same(group.folder, group.configs, facts)
            written += [group.folder / name for name in FILES_OF_A_POPULATION]
    for path in written:
        if path.is_dir():
            raise UserError(f"{path} is not a file: give another --workdir, or move it away.")
    if others := [label for label in _reported(folder) if label not in systems]:
        raise UserError(
            f"{folder} holds a comparison with {', '.join(others)}, whose report would be lost: name all systems, or "
            "give another --workdir."
        )


def _reported(folder: Path) -> list[str]:
    """The systems in the folder's results; none where there are no results, or damaged ones."""
    try:
        return list(map(str, json.loads(content_of(folder / "results.json"))["systems"]))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return []


def _cluster(address: str | None) -> AbstractContextManager[Any]:
    if address is None:
        return nullcontext()
    from gan_jax.comparison import cluster  # whose tasks import this module

    return cluster.connected(address)


def judge(
    dataset: str, data_dir: str | None, image_size: int | None, channels: int | None, num: int | None
) -> Judge:
    """What scores the members of a comparison: `num` samples of each."""
    return evaluator_for(
        dataset, data_dir, image_size=image_size, channels=channels, num=num, progress=lambda x, title: x
    )


def _train(
    systems: Mapping[str, Sequence[Config]],
    totals: Mapping[str, int],
    images: np.ndarray,
    labels: np.ndarray | None,
    evaluator: Judge,
    folder: Path,
) -> dict[str, Scored]:
    """All systems, trained and scored one after the other."""
    entries: dict[str, Scored] = {}
    total = sum(totals[label] * len(configs) for label, configs in systems.items())
    with tqdm(total=total, unit="step", unit_scale=True, disable=None, dynamic_ncols=True) as bar:
        for label, configs in systems.items():
            own = folder / folder_name(label)
            entries[label] = _train_system(own, label, configs, images, labels, evaluator, bar)
    return entries


def _train_system(
    own: Path,
    label: str,
    configs: Sequence[Config],
    images: np.ndarray,
    labels: np.ndarray | None,
    evaluator: Judge,
    bar: tqdm,
) -> Scored:
    """One of them, in its folder; no member's state is left in the memory."""
    groups = groups_of(own, configs, len(configs))
    for group in groups:
        show = _shown(bar, label)
        population = train_population(
            group.folder, group.configs, images, labels, warn=report.warn, show=show
        )
        if group.folder != own:
            scores_of(population, evaluator, group.folder)
    if groups[0].folder != own:
        population = join(own, configs, groups, report.warn)
    bar.set_description(f"{label}, scores")
    return scores_of(population, evaluator, own)


def _shown(bar: tqdm, label: str) -> Callable[[Population], None]:
    """Has the bar count the steps of a population's members, one after the other."""
    done = bar.n

    def show(population: Population) -> None:
        lost = int((population.diverged >= 0).sum())
        words = f"{label}: {len(population)} members, step {population.step}/{population.plan.total}"
        bar.set_description(words + (f", {lost} diverged" if lost else ""), refresh=False)
        bar.update(done + population.step * len(population) - bar.n)

    return show


def _default_folder(options_: Options, first: Config) -> Path:
    name = f"compare-{data.dataset_name(first.dataset)}-" + "-".join([*options_.systems, *options_.vary])
    return Path("runs") / folder_name(name)[:150]


def main(args: Sequence[str]) -> int:
    """The command. Returns the exit code."""
    prog, names = "python -m gan_jax.compare", {arg.split("=")[0].replace("-", "_")[2:] for arg in args}
    if name := next((name for name in FOREIGN if name in names), None):
        raise UserError(f"--{name} is not for a comparison: {FOREIGN[name]} See {prog} --help.")
    # What --vary names: --config yields to it as to flags.
    varied = {arg.removeprefix("--vary=").split("=")[0].lstrip("-") for arg in args if "=" in arg}
    settings = cli.parse(
        Options,
        args,
        prog=prog,
        description=DESCRIPTION,
        from_file=cli.FromFile(
            "A single run's config.json: what it sets beside its preset or loss is given to every system; flags beside "
            "it win, and so does --vary.",
            lambda file, given: values_of_file(file, names | varied, penalties_of(given)),
        ),
    )
    if {"steps", "epochs"} <= names:
        report.warn_of_two_lengths(settings.steps, settings.epochs)
    cli.use_compilation_cache()
    compare(settings)
    return 0


if __name__ == "__main__":
    cli.run(main)
