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
    file = Path(path).expanduser()
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
    except Exception as error:  # whatever the user's own code raises
        del sys.modules[name]
        raise UserError(f"--plugin={path}{_line(error, file)}: {type(error).__name__}: {error}") from error
    LOADED[sha256] = str(path)


def _line(error: Exception, file: Path) -> str:
    """Where in the plugin the error was raised."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}"
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)
    ]
    return f", line {lines[-1]}" if lines else ""
