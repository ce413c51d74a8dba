"""What the GANs in a folder have cost: CPU seconds of all processes that trained them, in its cost.json."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

from gan_jax.storage import content_of, write_atomically

NAME = "cost.json"


@contextlib.contextmanager
def counted(folder: Path) -> Iterator[None]:
    """Adds what this process spends to the folder's cost, if it trains. Where it is killed, the cost is unknown from
    then on."""
    spent, begin, saved = cpu_seconds(folder), time.process_time(), _saved(folder)
    if spent is not None and folder.is_dir():
        _record(folder, None)
    trained = True
    try:
        yield
        trained = not saved or _saved(folder) != saved
    finally:
        if spent is not None and folder.is_dir():  # made by the work, unless that was refused
            _record(folder, spent + (time.process_time() - begin if trained else 0.0))


def cpu_seconds(folder: Path) -> float | None:
    """The cost so far, 0 where there is no folder; None if a process was killed before it could say its own."""
    if not folder.exists():
        return 0.0
    try:
        return float(json.loads(content_of(folder / NAME))["cpu_seconds"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _saved(folder: Path) -> list[str]:
    """The checkpoints."""
    return sorted(path.name for path in (folder / "checkpoints").glob("*"))


def _record(folder: Path, seconds: float | None) -> None:
    write_atomically(folder / NAME, json.dumps({"cpu_seconds": seconds}) + "\n")
