"""How long does each system of the comparison take? Milliseconds of a step, and minutes of one core for all of them.

    taskset -c 0 python -m experiments.minutes
    python -m experiments.minutes --systems default best --rounds=9

All train in this process and take turns, a chunk of each in every round, so that a busy moment of the machine meets
all of them. On a CPU times are the process's CPU time, on an accelerator a clock's. Compiling, checkpoints and scores
do not count. Conditional systems get MNIST's labels. Writes minutes.md to --out. Expect four minutes of a core, of
which two are for compiling.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from experiments.ablation.changes import base_of
from experiments.population_cost import chunk_seconds, on_cpu
from gan_jax import PRESETS, Config, cli, data, fit
from gan_jax.comparison.systems import DEFAULT
from gan_jax.errors import UserError
from gan_jax.options import COUNT, PATH, Rule, check, choice, option
from gan_jax.plan import plan
from gan_jax.storage import expanded, write_atomically

COMPARED = ("best", "default", "wgan_gp", "gan_conv", "hinge", "dragan", "lsgan", "r3gan", "wgan_conv")

# A second or two on a core, and a multiple of what penalties in every Nth step need.
IMAGES = 3200


def _system(name: Any) -> Any:
    import experiments.presets  # noqa: F401  # registers gan_conv and wgan_conv, and not for whoever imports this file

    return choice("system", (DEFAULT, *PRESETS)).convert(name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to time, how often, and where to write."""

    systems: tuple[str, ...] = option(
        COMPARED,
        "The systems, separated by spaces. Default: those of the comparison.",
        Rule("", _system, metavar="{default,PRESET}"),
        many=True,
    )
    rounds: int = option(7, "How often each takes its turn.", COUNT)
    out: str = option("experiments/results", "Folder to write to.", PATH)

    def __post_init__(self) -> None:
        """Check every field. Raises `UserError`."""
        check(self)
        if len(set(self.systems)) < len(self.systems) or not self.systems:
            raise UserError("--systems must name one system or more, each once.")


class Timed(NamedTuple):
    """A system's steps at its full length, and the seconds of one of them, by round."""

    steps: int
    seconds: list[float]

    @property
    def minutes(self) -> float:
        """Of all its steps."""
        return self.steps * float(np.median(self.seconds)) / 60


def measure(
    systems: Mapping[str, Config],
    rounds: int,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    turn: Callable[[], Any] = lambda: None,
    chunk_images: int = IMAGES,
) -> dict[str, Timed]:
    """The systems' times over the rounds, before which all compile.

    labels: for conditional systems. turn: called after each round. chunk_images: how many images D sees in a system's
    turn.
    """
    steps, running, found = {}, {}, {}
    for name, config in systems.items():
        steps[name] = max(1, chunk_images // (config.batch_size * config.d_steps))
        length = (1 + rounds) * steps[name]
        # One chunk is one turn. Its logs are all it writes.
        timed = dataclasses.replace(
            config, steps=length, log_every=steps[name], checkpoint_every=length, keep_every=None
        )
        running[name] = fit(timed, images, labels if config.conditional else None)
        chunk_seconds(running[name], lambda gan: gan.state)
        found[name] = Timed(plan(config, len(images)).total, [])
    for _ in range(rounds):
        for name, chunks in running.items():
            found[name].seconds.append(chunk_seconds(chunks, lambda gan: gan.state) / steps[name])
        turn()
    return found


def table(found: Mapping[str, Timed]) -> str:
    """A line for each system."""
    clock, unit = ("CPU ms of a step", "minutes of one core") if on_cpu() else ("ms of a step", "minutes")
    lines = [
        "# How long each system takes",
        "",
        f"Median [least, greatest] of {len(next(iter(found.values())).seconds)} rounds, in which all took turns.",
        "",
        f"| system | steps | {clock} | {unit} |",
        "|---|---|---|---|",
    ]
    for name, timed in found.items():
        low, middle, high = (1e3 * float(f(timed.seconds)) for f in (np.min, np.median, np.max))
        lines.append(
            f"| {name} | {timed.steps:,} | {middle:.3g} [{low:.3g}, {high:.3g}] | {timed.minutes:.1f} |"
        )
    return "\n".join([*lines, ""])


def main(args: Sequence[str]) -> None:
    """The command."""
    options = cli.parse(Options, args, prog="python -m experiments.minutes", description=__doc__ or "")
    folder = expanded(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = data.load("mnist", "train")
    systems = {name: base_of(name) for name in options.systems}
    with tqdm(total=options.rounds, unit="round", disable=None) as bar:
        found = measure(systems, options.rounds, images, labels, bar.update)
    text = table(found)
    write_atomically(folder / "minutes.md", text)
    print(text)


if __name__ == "__main__":
    cli.run(main)
