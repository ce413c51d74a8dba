"""Odd command lines of every command, and what parses them."""

import random
from collections.abc import Callable

from gan_jax import cli, compare, config, evaluate, export, film, sample, take_out, train_classifier
from gan_jax.explore import __main__ as explore
from gan_jax.human_eval import __main__ as human_eval
from gan_jax.plan import plan


def _parser(kind: type) -> Callable[[list[str]], object]:
    return lambda args: cli.parse(kind, args, prog="python -m x", description="")


COMMANDS: dict[str, Callable[[list[str]], object]] = {
    "train": lambda args: plan(config.from_args(args), 96),
    "sample": _parser(sample.Options),
    "evaluate": _parser(evaluate.Options),
    "compare": _parser(compare.Options),
    "train_classifier": _parser(train_classifier.Options),
    "film": _parser(film.Options),
    "explore": _parser(explore.Options),
    "export": _parser(export.Options),
    "take_out": _parser(take_out.Options),
    "human_eval": _parser(human_eval.Options),
}
# Short texts, so that none names a file that is there.
TEXTS: tuple[str, ...] = (
    "",
    " ",
    "0",
    "-1",
    "1",
    "2147483648",
    "1e999",
    "nan",
    "inf",
    "1_000",
    "٣",
    "²",
    "\ud800",
    "hinge",
    "gp",
    "--",
)
TEXTS += (
    "best",
    "x" * 5000,
    "a=b",
    "~nobody/x",
    "%s",
    "\n",
    "\x1b[2J",
    "0x10",
    "1.5",
    "none",
    "true",
    "mnist",
    "[]",
    ",",
)


def odd(name: str, seed: int) -> list[str]:
    """The arguments of an odd command line."""
    rng = random.Random(f"{name} {seed}")
    flags = [
        "loss",
        "preset",
        "penalty",
        "steps",
        "epochs",
        "seed",
        "batch-size",
        "z_dim",
        "dataset",
        "workdir",
        "num",
    ]
    flags += [
        "out",
        "checkpoint",
        "npz",
        "systems",
        "seeds",
        "conditional",
        "no_conditional",
        "member",
        "help",
        "x",
        "",
    ]
    args = []
    for _ in range(rng.randrange(6)):
        flag, text = f"--{rng.choice(flags)}", rng.choice(TEXTS)
        args += rng.choice(([f"{flag}={text}"], [flag, text], [flag], [text], [f"{flag}={text}", text]))
    return args
