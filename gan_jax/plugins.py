"""Plugins: a Python file that enters losses, penalties, nets, optimizers, data sets or metrics in the registries.

    python -m gan_jax.train --plugin=my_loss.py --loss=mine

Every command has the flag. A run's `config.json` records the file's path and SHA-256, for whoever draws from the run
to give the flag again: nothing is ever executed because a workdir says so. From Python registering is enough.
"""

import importlib.util
import sys
import traceback
from pathlib import Path

from gan_jax.errors import UserError
from gan_jax.storage import sha256_of_file

MOST_WORDS = 300  # characters of an error's message: a compiler's may run over pages

# SHA-256 -> the path, as it was given, of each plugin that this process has loaded.
LOADED: dict[str, str] = {}


def flags() -> list[str]:
    """The flags with which a command loads the same plugins."""
    return [f"--plugin={path}" for path in LOADED.values()]


def load_plugin(path: str | Path) -> None:
    """Import the file, once for each content.

    Raises:
      UserError: if it is no Python file, or raises; the message says in which line.
    """
    file = _file(path)
    if file.suffix != ".py" or not file.is_file():
        raise UserError(f"--plugin={path} is no Python file: give the path of a FILE.py.")
    try:
        sha256 = sha256_of_file(file)
    except OSError as error:
        raise UserError(f"--plugin={path} cannot be read ({error.strerror}).") from error
    if sha256 in LOADED:
        return
    name = f"gan_jax_plugin_{sha256[:16]}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and pickles look for the module of a class
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever the user's own code raises
        del sys.modules[name]
        raise UserError(_words(path, error)) from error
    LOADED[sha256] = str(path)


def blamed(error: Exception) -> str | None:
    """What to say of an error that a loaded plugin's code raised, long after it was imported; None for any other."""
    names = {frame.filename for frame in traceback.extract_tb(error.__traceback__)}
    paths = [path for path in LOADED.values() if str(_file(path)) in names]
    return _words(paths[-1], error) if paths else None


def _file(path: str | Path) -> Path:
    return Path(path).expanduser().absolute()  # as tracebacks name it


def _words(path: str | Path, error: BaseException) -> str:
    """The plugin, the line of it where the error was raised, and the error, on one line."""
    if isinstance(error, SyntaxError):
        where = f", line {error.lineno}"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(_file(path))]
        where = f", line {lines[-1]}" if lines else ""
    return f"--plugin={path}{where}: {type(error).__name__}: {' '.join(str(error).split())[:MOST_WORDS]}"
