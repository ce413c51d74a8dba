"""Odd command lines of every command, and what takes them.

Where a command needs a run, all of it is called, in an empty folder: what it does with its options before it reads the
run is tried as well. The others, which would train, only parse theirs.
"""

import contextlib
import random
import tempfile
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gan_jax import cli, compare, config, evaluate, export, film, sample, take_out, train, train_classifier
from gan_jax.explore import __main__ as explore
from gan_jax.human_eval import __main__ as human_eval
from gan_jax.options import REQUIRED, options_of
from gan_jax.plan import plan


class Command(NamedTuple):
    """A command: the dataclass of its options, and what takes its arguments."""

    options: type
    take: Callable[[list[str]], object]


def _parsed(kind: type) -> Command:
    return Command(kind, lambda args: cli.parse(kind, args, prog="python -m x", description=""))


def _called(kind: type, main: Callable[[Sequence[str]], object]) -> Command:
    def take(args: list[str]) -> None:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            main(args)

    return Command(kind, take)


COMMANDS: dict[str, Command] = {
    "train": Command(train.Command, lambda args: plan(config.command_from_args(train.Command, args), 96)),
    "sample": _called(sample.Options, sample.main),
    "evaluate": _parsed(evaluate.Options),
    "compare": _parsed(compare.Options),
    "train_classifier": _parsed(train_classifier.Options),
    "film": _called(film.Options, film.main),
    "explore": _called(explore.Options, explore.main),
    "export": _called(export.Options, export.main),
    "take_out": _called(take_out.Options, take_out.main),
    "human_eval": _called(human_eval.Options, human_eval.main),
}
# Short texts, so that none names a file that is there.
NUMBERS = ("0", "-1", "1", "2147483648", "1e999", "nan", "inf", "1_000", "٣", "²", "0x10", "1.5", "4x4")
NAMES = ("hinge", "gp", "mnist", "best", "none", "true", "x.gif", "x.html", "x.onnx", "x.png", "no/x.npz")
NONSENSE = (
    "",
    " ",
    ",",
    "--",
    "[]",
    "a=b",
    "%s",
    "\n",
    "\x1b[2J",
    "\ud800",
    "\udcff",
    "~nobody_of_this_name/x",
)
TEXTS = (*NUMBERS, *NAMES, *NONSENSE, "x" * 5000)
FOREIGN = ("plugin", "config", "help", "batch-size", "no_conditional", "steps", "port", "x", "")


def odd(name: str, seed: int) -> list[str]:
    """The arguments of an odd command line: mostly flags of that command, and mostly all that it must have."""
    rng, args = random.Random(f"{name} {seed}"), []
    own = options_of(COMMANDS[name].options)
    for flag, option in own.items():
        if option.default is REQUIRED and rng.random() < 0.9:
            args.append(f"--{flag}={rng.choice(TEXTS)}")
    for _ in range(rng.randrange(6)):
        flag, text = f"--{rng.choice((*own, *FOREIGN))}", rng.choice(TEXTS)
        args += rng.choice(([f"{flag}={text}"], [flag, text], [flag], [text], [f"{flag}={text}", text]))
    return args
