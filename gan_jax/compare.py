"""Compare systems over seeds: each system's seeds train side by side, and every score comes with its spread.

    python -m gan_jax.compare --systems hinge r3gan wgan_gp --seeds=5
    python -m gan_jax.compare --systems hinge --vary g_learning_rate=1e-4,3e-4,1e-3 --seeds=3 --steps=2000

Writes report.md, results.json, results.csv, curves.png and a grid of samples a system. Rerun the same command to go on.
Expect the time of the single runs one after the other on a CPU; on an accelerator far less.
"""

import dataclasses
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from gan_jax import cli, data, options, report
from gan_jax.comparison.results import Scored, write
from gan_jax.comparison.scoring import scores_of
from gan_jax.config import PRESETS, Config
from gan_jax.errors import UserError, nearest
from gan_jax.evaluation.named import evaluator_for
from gan_jax.fields import Nets, Optimization, Run, System
from gan_jax.objectives import OBJECTIVES
from gan_jax.options import COUNT, REQUIRED, TEXT, Rule, option, options_of, whole
from gan_jax.parts import facts_of
from gan_jax.population import Population, prepare_population
from gan_jax.population_run import train_population
from gan_jax.stopping import Stopped
from gan_jax.storage import expanded
from gan_jax.training import images_of
from gan_jax.workdir import worded


def _system(name: Any) -> str:
    if name not in PRESETS and name not in OBJECTIVES:
        allowed = [*PRESETS, *(loss for loss in OBJECTIVES if loss not in PRESETS)]
        near = nearest(str(name), allowed)
        hint = f" Did you mean '{near}'?" if near else ""
        raise UserError(f"unknown system '{name}'.{hint} Allowed: {', '.join(allowed)}.")
    return str(name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(System, Nets, Optimization, Run):
    """What to compare. All options of gan_jax.train apply to every system."""

    systems: tuple[str, ...] = option(
        REQUIRED,
        "Presets, or losses with the default system, separated by spaces; hinge is the preset.",
        Rule("", _system, metavar="NAME"),
        many=True,
    )
    seeds: int = option(5, "Seeds of each system, counted from --seed.", whole(1, 10_000))
    vary: tuple[str, ...] = option(
        (),
        "Options to vary, as NAME=VALUE,VALUE,…: every combination of their values with every system is compared.",
        Rule(TEXT.words, TEXT.convert, metavar="NAME=VALUE,VALUE"),
        many=True,
    )
    num: int | None = option(
        None, "Samples of each member to evaluate. Default: 10,000, or all real images.", COUNT
    )

    def __post_init__(self) -> None:
        """Check what is the comparison's own; the rest is for `Config`. Raises `UserError`."""
        options.check_only(self, [name for name in options_of(self) if name not in options_of(Config)])

    @property
    def given(self) -> dict[str, Any]:
        """The options of a run that were given."""
        values = {name: getattr(self, name) for name in options_of(Config)}
        return {
            name: value for name, value in values.items() if value is not options.UNSET and name != "workdir"
        }


def systems_of(options_: Options) -> dict[str, list[Config]]:
    """The members' configs by the name of their system, as it stands in the report.

    Raises:
      UserError: for options that are not allowed, or two systems of one name.
    """
    varied = dict(_varied(text) for text in options_.vary)
    found: dict[str, list[Config]] = {}
    for system in options_.systems:
        for values in itertools.product(*varied.values()):
            own = dict(zip(varied, values, strict=True))
            base = {"preset": system} if system in PRESETS else {"loss": system}
            label = " ".join([system, *(worded(name, value) for name, value in own.items())])
            if label in found:
                raise UserError(f"--systems names {label} twice: give each once.")
            first = Config(**{**base, **options_.given, **own})
            if first.seed + options_.seeds > 2**32:
                raise UserError(f"--seed={first.seed} with --seeds={options_.seeds} goes past {2**32 - 1}.")
            found[label] = [dataclasses.replace(first, seed=first.seed + i) for i in range(options_.seeds)]
    return found


def _varied(text: str) -> tuple[str, list[Any]]:
    """NAME and the values of NAME=VALUE,VALUE."""
    name, _, values = text.partition("=")
    name = name.strip("-")
    known = {
        n: found for n, found in options_of(Config).items() if found.role in ("system", "rate", "length")
    }
    if name not in known or name == "seed" or not values:
        near = nearest(name, known)
        raise UserError(
            f"--vary={text} is not allowed: write NAME=VALUE,VALUE with a system's option"
            + (f", such as {near}=…" if near else "")
            + "; seeds are --seeds."
        )
    try:
        return name, [_read(known[name], value) for value in values.split(",")]
    except ValueError:
        raise UserError(f"--vary={text} is not allowed: {name} must be {known[name].rule.words}.") from None


def _read(found: options.Option, text: str) -> Any:
    if found.rule is options.FLAG:
        return {"true": True, "false": False}[text.lower()] if text.lower() in ("true", "false") else text
    value = found.rule.read(text)
    return tuple(value.split("+")) if found.many else value


def compare(options_: Options) -> Path:
    """Train, evaluate and report, as the command does; returns the folder.

    Raises `UserError` for what the user can mend, `Stopped` after a signal.
    """
    systems = systems_of(options_)
    first = next(iter(systems.values()))[0]
    folder = Path(options_.workdir) if isinstance(options_.workdir, str) else _default_folder(options_, first)
    folder = expanded(folder)
    images, labels = images_of(first)
    facts = facts_of(images, labels, conditional=first.conditional)
    plans = {label: prepare_population(configs, facts)[1] for label, configs in systems.items()}
    evaluator = evaluator_for(
        first.dataset,
        first.data_dir,
        image_size=first.image_size,
        channels=first.channels,
        num=options_.num,
        progress=lambda x, title: x,
    )
    count = options_.seeds
    print(
        f"{len(systems)} systems × {count} seeds on {data.dataset_name(first.dataset)}, in {folder}",
        flush=True,
    )
    entries: dict[str, Scored] = {}
    total = sum(plan.total * count for plan in plans.values())
    with tqdm(total=total, unit="step", unit_scale=True, disable=None, dynamic_ncols=True) as bar:
        for label, configs in systems.items():
            done = bar.n

            def show(population: Population, label: str = label, done: int = done) -> None:
                lost = int((population.diverged >= 0).sum())
                bar.set_description(f"{label}{f', {lost} diverged' if lost else ''}", refresh=False)
                bar.update(done + population.step * count - bar.n)

            population = train_population(
                folder / _folder_name(label), configs, images, labels, warn=report.warn, show=show
            )
            bar.set_description(f"{label}, scores")
            entries[label] = scores_of(population, evaluator, folder / _folder_name(label))
    write(folder, entries, evaluator, dataset=data.dataset_name(first.dataset))
    print((folder / "report.md").read_text())
    print(f"Written: {folder}/report.md, results.json, results.csv, curves.png and a grid for each system")
    return folder


def _default_folder(options_: Options, first: Config) -> Path:
    name = f"compare-{data.dataset_name(first.dataset)}-" + "-".join([*options_.systems, *options_.vary])
    return Path("runs") / _folder_name(name)[:150]


def _folder_name(label: str) -> str:
    return re.sub(r"[^\w.=+,-]+", "-", label)


def main(args: Sequence[str]) -> int:
    """The command. Returns the exit code."""
    settings = cli.parse(
        Options,
        args,
        prog="python -m gan_jax.compare",
        description="Compare systems over seeds. Rerun the same command to go on.",
    )
    cli.use_compilation_cache()
    try:
        compare(settings)
    except Stopped as stopped:
        print(stopped)
        return stopped.exit_code
    return 0


if __name__ == "__main__":
    cli.run(main)
