"""A run's folder: what it is called, whether a run may use it, and its `config.json`."""

import contextlib
import dataclasses
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from gan_jax import config as configs
from gan_jax.config import Config
from gan_jax.errors import UserError

# What may differ when a run is resumed: how long, how it is reported, and where things lie.
FREE = frozenset(
    {
        "preset",
        "epochs",
        "steps",
        "log_every",
        "checkpoint_every",
        "keep_every",
        "eval_every",
        "tensorboard",
        "workdir",
        "data_dir",
    }
)

FOLDERS = ("checkpoints", "samples")
FILES = ("metrics.jsonl", "real.png", "losses.png", "samples.png", "evaluation.json", "evaluation.png")


def path_of(config: Config) -> Path:
    """The run's folder: `--workdir`, else one under runs/ that says the data set, the system, the model if it is not
    the system's own, whether it is conditional, and the seed if it is not 0."""  # fmt: skip
    if config.workdir is not None:
        return Path(config.workdir).expanduser()
    base = configs.PRESETS[config.preset] if config.preset else Config()
    parts = [config.dataset, f"preset-{config.preset}" if config.preset else config.loss]
    parts += [config.model] if config.model != base.model else []
    parts += ["conditional"] if config.conditional else []
    parts += [f"seed{config.seed}"] if config.seed else []
    return Path("runs") / "-".join(parts)


@contextlib.contextmanager
def claim(config: Config) -> Iterator[Path]:
    """The run's folder, made if need be, and held for this run alone; nothing in it is changed.

    Raises `UserError` if the folder is a file, cannot be written to, is in use, holds another run, or holds
    files of a run without its config.
    """
    folder = path_of(config)
    try:
        _check(folder, config)
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise UserError(
            f"--workdir={folder} cannot be used ({error.strerror}): give a folder that can be written to."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"--workdir={folder} is in use by another run: wait for it, or give another --workdir."
            ) from error
        yield folder


def _check(folder: Path, config: Config) -> None:
    there = [name for name in FOLDERS + FILES if (folder / name).exists()]
    if (folder / "config.json").exists():
        _check_same(read(folder), config, folder)
    elif there:
        raise UserError(
            f"{folder} holds {there[0]} but no config.json, so what is in it is unknown: "
            "give an empty or new --workdir."
        )
    for name in there:
        if (folder / name).is_dir() != (name in FOLDERS):
            kind = "folder" if name in FOLDERS else "file"
            raise UserError(f"{folder / name} is not a {kind}: give another --workdir, or move it away.")


def read(folder: Path) -> Config:
    """The config of the run in `folder`. Raises `UserError` if there is none."""
    try:
        text = (folder / "config.json").read_bytes()
    except OSError as error:
        raise UserError(
            f"--workdir={folder} holds no run ({error.strerror}: config.json): give the folder of one that "
            "gan_jax.train made."
        ) from error
    try:
        return configs.from_json(text)
    except UserError as error:
        raise UserError(f"{folder / 'config.json'} cannot be read: {error}") from error


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that it is either the old one or the new one, also after a crash."""
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    os.replace(new, path)


def _check_same(old: Config, new: Config, folder: Path) -> None:
    before, after = dataclasses.asdict(old), dataclasses.asdict(new)
    differing = [
        f"{k} ({before[k]} there, {after[k]} here)" for k in before if before[k] != after[k] and k not in FREE
    ]
    if differing:
        raise UserError(
            f"{folder} holds a run of another config, differing in {', '.join(differing)}: give another --workdir, "
            "or the same values to resume it."
        )
