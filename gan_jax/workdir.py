"""A run's folder: what it is called, whether a run may use it, and its `config.json`.

`config.json` holds every field of the Config, and beside them `data`, the facts of the images, `plugins`, those that
the run uses, and `time`, where the number of steps was made of one.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gan_jax import config as configs
from gan_jax import data, provenance
from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.options import options_of
from gan_jax.parts import Facts
from gan_jax.plan import plan
from gan_jax.provenance import Used
from gan_jax.storage import content_of, expanded, locked, write_atomically

FOLDERS = ("checkpoints", "samples")
FILES = (
    "metrics.jsonl",
    "environment.json",
    "status.json",
    "real.png",
    "losses.png",
    "samples.png",
    "evaluation.json",
    "evaluation.png",
    "film.gif",
)
GROUPS = "groups_of_"  # how the folder begins in which a system's members train in groups
# Where other runs are below a folder: any, those of a system's groups, those of a comparison's.
OTHERS = ("*", f"{GROUPS}*/*", f"*/{GROUPS}*/*")
LONGEST_NAME = 200  # bytes of a folder's name; file systems take 255


class Record(NamedTuple):
    """What `config.json` says of a run, or of a population: then it has the members' configs in a list.

    time: the `--time` that the number of steps was made of, if any.
    """

    configs: tuple[Config, ...]
    facts: Facts
    alone: bool
    plugins: dict[str, Used]
    time: str | None = None

    @property
    def config(self) -> Config:
        """The run's, or the first member's."""
        return self.configs[0]


def path_of(config: Config) -> Path:
    """The run's folder: `--workdir`, else one under runs/ that says the data set, the system, and all that differs.

    So two runs whose numbers differ never meet in one folder.
    """
    if config.workdir is not None:
        return expanded(config.workdir)
    own = configs.own_values(config)
    differing = {
        name: getattr(config, name)
        for name, found in options_of(Config).items()
        if found.role in ("system", "rate") or (found.role == "length" and config.schedule != "constant")
        if getattr(config, name) != own[name]
    }
    if config.preset is None:
        differing.pop("loss", None)
    dataset = data.dataset_name(config.dataset)
    if config.dataset not in data.DATASETS:  # others of that name are in other folders
        place = os.path.realpath(os.path.expanduser(config.dataset))
        dataset += f"-{hashlib.sha256(os.fsencode(place)).hexdigest()[:8]}"
    parts = [dataset, f"preset-{config.preset}" if config.preset else config.loss]
    name = "-".join(parts + [worded(name, value) for name, value in differing.items()])
    if len(whole := os.fsencode(name)) > LONGEST_NAME:
        name = name[: LONGEST_NAME // 4] + "-" + hashlib.sha256(whole).hexdigest()[:16]
    return Path("runs") / name


def placed(config: Config, folder: Path) -> Config:
    """The config with absolute paths to its data, which whoever judges what is in `folder` from another one needs.

    Raises `UserError` where what is written into the folder would be among the images that are read.
    """
    path = data.own_path(config.dataset)
    found: dict[str, Any] = {}
    if path is not None:
        path, place = path.resolve(), folder.resolve()
        if path in (place, *place.parents):
            raise UserError(
                f"--workdir={place} lies among the images of --dataset={path}: give one outside of it."
            )
        found["dataset"] = str(path)
    if config.data_dir is not None:
        found["data_dir"] = str(expanded(config.data_dir).resolve())
    return dataclasses.replace(config, **found)


def worded(name: str, value: Any) -> str:
    """An option and its value, as names of folders and systems say them."""
    if isinstance(value, bool):
        return name if value else f"no_{name}"
    if value == ():
        return f"no_{name}"
    return f"{name}={'+'.join(value) if isinstance(value, tuple) else value}"


@contextlib.contextmanager
def claim(config: Config, facts: Facts, time: str | None = None) -> Iterator[Path]:
    """The run's folder, made if need be, and held for this run alone. A new one then has its `config.json`.

    Raises `UserError` if the folder is a file, cannot be written to, is in use, holds another run, or holds
    files of a run without its config. Nothing is changed then.
    """
    folder = path_of(config)
    with contextlib.ExitStack() as stack:
        with _usable(folder):
            _check(folder, config, facts)
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder / ".lock"))
            _check(folder, config, facts)  # another run may just have made it
            if not (folder / "config.json").exists():
                write_config(folder, config, facts, time)
        yield folder


@contextlib.contextmanager
def _usable(folder: Path) -> Iterator[None]:
    """Raises `UserError` for a folder in use, or one that cannot be."""
    try:
        str(folder.absolute()).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"--workdir={str(folder.absolute())!r} is not UTF-8, in which checkpoints are named: give another."
        ) from None
    try:
        yield
    except BlockingIOError as error:
        raise UserError(
            f"--workdir={folder} is in use by another run: wait for it, or give another --workdir."
        ) from error
    except OSError as error:
        raise UserError(
            f"--workdir={folder} cannot be used ({error.strerror}): give a folder that can be written to."
        ) from error


def check(config: Config, facts: Facts) -> None:
    """Raises `UserError` as `claim` does where the run's folder holds what is not this run's, or cannot be made."""
    folder = path_of(config)
    with _usable(folder):
        _check(folder, config, facts)
        there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
        if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
            raise UserError(
                f"--workdir={folder} cannot be used: {there} is no folder that can be written to."
            )


def time_of(folder: Path, steps: int) -> str | None:
    """The time of which the run in `folder` was made so many steps, if it was."""
    record = read(folder)
    return record.time if record.config.steps == steps else None


def write_config(folder: Path, config: Config, facts: Facts, time: str | None = None) -> None:
    """Write `config.json`. time: that of which the config's number of steps was made, if any."""
    _write(folder, configs.to_json(config) | ({"time": time} if time else {}), config, facts)


def write_population_config(folder: Path, members: Sequence[Config], facts: Facts) -> None:
    """Write `config.json` of a population."""
    _write(folder, {"members": [configs.to_json(config) for config in members]}, members[0], facts)


def _write(folder: Path, values: dict[str, Any], config: Config, facts: Facts) -> None:
    beside = {"data": facts._asdict(), "plugins": provenance.to_json(provenance.used(config))}
    write_atomically(folder / "config.json", json.dumps({**values, **beside}, indent=2) + "\n")


def digest(members: Sequence[Config], facts: Facts) -> str:
    """SHA-256 of all in `config.json` that must not change: a checkpoint says of which it is."""
    fixed = [name for name, found in options_of(Config).items() if found.role in ("system", "rate")]
    values = [{name: getattr(config, name) for name in fixed} for config in members]
    return hashlib.sha256(json.dumps([values, facts], sort_keys=True).encode()).hexdigest()


def read(folder: Path) -> Record:
    """What the run in `folder` is. Raises `UserError` if there is none, or its plugins were not loaded."""
    try:
        content = content_of(folder / "config.json")
    except OSError as error:
        raise UserError(
            f"--workdir={folder} holds no run ({error.strerror}: config.json): give the folder of one that "
            "gan_jax.train made."
        ) from error
    return _record(content, folder / "config.json")


def read_file(path: Path) -> Record:
    """What the `config.json` at `path` says, wherever it lies. Raises `UserError` as `read`."""
    try:
        return _record(content_of(path), path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error


def _record(content: bytes, path: Path) -> Record:
    try:
        values = json.loads(content)
        if not isinstance(values, dict):
            raise UserError("it must be an object")
        plugins = provenance.from_json(values.get("plugins", {}))
        provenance.check_there(plugins)  # before the config, whose names they enter
        alone = "members" not in values
        if not alone and not (isinstance(values["members"], list) and values["members"]):
            raise UserError("'members' must be a list of configs")
        found = tuple(configs.from_json(member) for member in ([values] if alone else values["members"]))
        provenance.check_no_other(plugins, found[0])
        time = values.get("time")
        return Record(
            found, _facts(values.get("data")), alone, plugins, time if isinstance(time, str) else None
        )
    except (UserError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {_brief(error)}") from error


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())


def _facts(values: Any) -> Facts:
    try:
        shape = tuple(map(_count, values["image_shape"]))
        if len(shape) != 3 and shape != (2,):
            raise ValueError
        classes = values["num_classes"]
        return Facts(
            shape,
            _count(values["num_images"]),
            None if classes is None else _count(classes),
            str(values["sha256"]),
        )
    except (TypeError, KeyError, ValueError):
        raise UserError("it does not say what its images are; another version may have written it") from None


def _count(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError
    return value


def _check(folder: Path, config: Config, facts: Facts) -> None:
    there = [name for name in FOLDERS + FILES if (folder / name).exists()]
    if (folder / "config.json").exists():
        _check_same(read(folder), config, facts, folder)
    elif held := [name for name in there if not _empty(folder / name)]:
        raise UserError(
            f"{folder} holds {held[0]} but no config.json, so what is in it is unknown: "
            "give an empty or new --workdir."
        )
    elif others := sorted(path.parent for places in OTHERS for path in folder.glob(f"{places}/config.json")):
        raise UserError(
            f"{folder} holds other runs, such as {others[0]}, or a comparison: give a --workdir of its own."
        )
    for name in there:
        if (folder / name).is_dir() != (name in FOLDERS):
            kind = "folder" if name in FOLDERS else "file"
            raise UserError(f"{folder / name} is not a {kind}: give another --workdir, or move it away.")
    if strange := [path for path in (folder / "samples").glob("sample_*.png") if path.is_dir()]:
        raise UserError(f"{strange[0]} is not a file: give another --workdir, or move it away.")


def _empty(path: Path) -> bool:
    """Whether it is a folder with nothing in it, as a run leaves that was killed in its first second."""
    return path.is_dir() and not any(path.iterdir())


def _check_same(record: Record, config: Config, facts: Facts, folder: Path) -> None:
    old, remedy = record.config, "give another --workdir, or the same values to resume it."
    if not record.alone:
        raise UserError(
            f"{folder} holds a population of {len(record.configs)}: give another --workdir; gan_jax.take_out makes a "
            "run of one of them."
        )
    differing = configs.differing(old, config, "system", "rate")
    if record.facts != facts:
        differing.append(
            f"the images ({_described(old, record.facts)} there, {_described(config, facts)} here)"
        )
    here = provenance.used(config)
    if {plugin.sha256 for plugin in record.plugins.values()} != {plugin.sha256 for plugin in here.values()}:
        there = provenance.described(record.plugins)
        differing.append(f"the plugins in use ({there} there, {provenance.described(here)} here)")
    if differing:
        raise UserError(
            f"{folder} holds a run of another config, differing in {', '.join(differing)}: {remedy}"
        )
    before, after = (plan(c, facts.num_images).total for c in (old, config))
    if config.schedule != "constant" and before != after:
        raise another_length(folder, f"{before} steps, not {after}", config.schedule, "the same values")


def another_length(folder: Path, there: str, schedule: str, same: str) -> UserError:
    """What to raise for a run of `there` steps in the folder, with a schedule over them, which `same` would resume."""
    return UserError(
        f"{folder} holds a run of {there}, over which --schedule={schedule} lowers the learning rates: another length "
        f"would be another run; give another --workdir, or {same} to resume it."
    )


def _described(config: Config, facts: Facts) -> str:
    return f"{config.dataset}, {facts.num_images} of {facts.image_shape}, SHA-256 {facts.sha256[:12]}…"
