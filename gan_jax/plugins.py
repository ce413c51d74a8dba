"""Plugins: a Python file that enters losses, penalties, augmentations, nets, … in the registries.

    python -m gan_jax.train --plugin=my_loss.py --loss=mine

Every command has the flag. A run's `config.json` records those that it uses, for whoever draws from the run to give
the flag again: nothing is ever executed because a workdir says so. See `provenance`. From Python registering is
enough.
"""

import importlib.util
import os
import sys
import traceback
from pathlib import Path
from typing import Any, NamedTuple

from gan_jax.errors import UserError
from gan_jax.storage import sha256_of_file

MOST_WORDS = 300  # characters of an error's message: a compiler's may run over pages

Entry = tuple[str, str]  # a registry's name, and a key of it


class Loaded(NamedTuple):
    """A plugin that this process has loaded.

    given: its path, as it was given. entered: all that it put into the registries. replaced: of these, what had
    stood there before.
    """

    given: str
    sha256: str
    entered: dict[Entry, Any]
    replaced: dict[Entry, Any]


# Absolute path -> the plugin.
LOADED: dict[str, Loaded] = {}


def flags() -> list[str]:
    """The flags with which a command loads the same plugins."""
    return [f"--plugin={loaded.given}" for loaded in LOADED.values()]


def registries() -> dict[str, dict[str, Any]]:
    """The registries of what a run may be made of, by name. Metrics are not among them: no run is made of those."""
    # Imported late: the config's module imports the command line, which imports this.
    from gan_jax import augmentations, config, data, models, objectives, optimizers, penalties

    return {
        "OBJECTIVES": objectives.OBJECTIVES,
        "PENALTIES": penalties.PENALTIES,
        "DEFAULT_WEIGHTS": penalties.DEFAULT_WEIGHTS,
        "AUGMENTATIONS": augmentations.AUGMENTATIONS,
        "MODELS": models.MODELS,
        "OPTIMIZERS": optimizers.OPTIMIZERS,
        "SCHEDULES": optimizers.SCHEDULES,
        "DATASETS": data.DATASETS,
        "PRESETS": config.PRESETS,
    }


def _open_to_plugins() -> dict[str, dict[str, Any]]:
    """All that a plugin may enter something in: the registries, and the metrics."""
    from gan_jax.evaluation.scores import FAMILIES  # late: a command without plugins need not wait for it

    return {**registries(), "FAMILIES": FAMILIES}


def load_plugin(path: str | Path) -> None:
    """Import the file, once for each content. An edited file takes the place of what it was before.

    Raises:
      UserError: if it is no Python file, or raises; the message says in which line. The registries are then as before.
    """
    file = _file(path)
    if file.suffix != ".py" or not file.is_file():
        raise UserError(f"--plugin={path} is no Python file: give the path of a FILE.py.")
    try:
        sha256 = sha256_of_file(file)
    except OSError as error:
        raise UserError(f"--plugin={path} cannot be read ({error.strerror}).") from error
    if sha256 in {loaded.sha256 for loaded in LOADED.values()}:
        return
    found = _open_to_plugins()
    at_first = _copies(found)
    if str(file) in LOADED:
        _undo(LOADED[str(file)], found)
    before = _copies(found)
    try:
        _run(file, f"gan_jax_plugin_{sha256[:16]}")
    except (Exception, SystemExit) as error:  # whatever the user's own code raises
        for name, entries in at_first.items():
            found[name].clear()
            found[name].update(entries)
        raise UserError(_words(path, error)) from error
    entered = {
        (name, key): value
        for name, registry in found.items()
        for key, value in registry.items()
        if key not in before[name] or before[name][key] is not value
    }
    replaced = {(name, key): before[name][key] for name, key in entered if key in before[name]}
    LOADED.pop(str(file), None)  # the newest comes last
    LOADED[str(file)] = Loaded(str(path), sha256, entered, replaced)


def _run(file: Path, name: str) -> None:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and pickles look for the module of a class
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def _copies(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: dict(registry) for name, registry in found.items()}


def _undo(loaded: Loaded, found: dict[str, dict[str, Any]]) -> None:
    """Take the plugin's entries out again, less those that someone else has replaced since."""
    for (name, key), value in loaded.entered.items():
        if found[name].get(key) is not value:
            continue
        if (name, key) in loaded.replaced:
            found[name][key] = loaded.replaced[name, key]
        else:
            del found[name][key]


def blamed(error: Exception) -> str | None:
    """What to say of an error that a loaded plugin's code raised, long after it was imported; None for any other."""
    names = {frame.filename for frame in traceback.extract_tb(error.__traceback__)}
    paths = [loaded.given for file, loaded in LOADED.items() if file in names]
    return _words(paths[-1], error) if paths else None


def _file(path: str | Path) -> Path:
    return Path(os.path.realpath(os.path.expanduser(path)))  # as tracebacks name it


def _words(path: str | Path, error: BaseException) -> str:
    """The plugin, the line of it where the error was raised, and the error, on one line."""
    if isinstance(error, SyntaxError):
        where = f", line {error.lineno}"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(_file(path))]
        where = f", line {lines[-1]}" if lines else ""
    return f"--plugin={path}{where}: {type(error).__name__}: {' '.join(str(error).split())[:MOST_WORDS]}"
