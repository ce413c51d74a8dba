"""`status.json` in a run's folder: how far it is and what ails it, for whoever watches it from outside.

{"state": "training", "step": 5200, "total": 45000, "steps_per_s": 190.0, "seconds_left": 209, "last_checkpoint": 4000,
 "problem": null, "pid": 4711, "updated": 1764288000.0}

state: preparing, training, done, stopped (by a signal), diverged or failed; `problem` says what of the latter. A
process that was killed leaves the state it had: its pid is no longer there, and `updated` grows old.
"""

import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from gan_jax.errors import Diverged
from gan_jax.stopping import Stopped

SECONDS = 1.0  # between two writes, at least


class Status:
    """Writes the file. Use it as a context manager. What cannot be written is left unwritten: it ends no run."""

    def __init__(self, folder: Path, total: int) -> None:
        """Of a run of `total` steps."""
        self._path, self._written, self._begun = folder / "status.json", 0.0, False
        self._values: dict[str, Any] = {
            "state": "preparing",
            "step": 0,
            "total": total,
            "steps_per_s": None,
            "seconds_left": None,
            "last_checkpoint": None,
            "problem": None,
            "pid": os.getpid(),
        }

    def __enter__(self) -> "Status":
        return self  # and writes nothing yet: a run that is refused changes no file

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        kinds = {Stopped: "stopped", Diverged: "diverged"}
        state = "done" if error is None else kinds.get(type(error), "failed")
        if error is None or isinstance(error, Stopped):  # all that was saved is on disk by now
            self._values["last_checkpoint"] = self._values["step"]
        self._values.update(state=state, problem=None if error is None else str(error), seconds_left=None)
        if self._begun:
            self._write()

    def begin(self, step: int) -> None:
        """The run goes on from the checkpoint of this step, or from 0 without one."""
        self._values.update(step=step, last_checkpoint=step or None)
        self._begun = True
        self._write()

    def chunk(self, step: int, steps_per_s: float, last_checkpoint: int | None) -> None:
        """A chunk was done; `last_checkpoint` is the newest that is whole on disk."""
        left = round((self._values["total"] - step) / steps_per_s) if steps_per_s else None
        self._values.update(state="training", step=step, steps_per_s=steps_per_s, seconds_left=left)
        self._values["last_checkpoint"] = last_checkpoint
        if time.monotonic() - self._written >= SECONDS:
            self._write()

    def _write(self) -> None:
        # Renamed, so that nobody reads half of it; not synced to the disk, since nothing depends on it.
        new = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            new.write_text(json.dumps({**self._values, "updated": time.time()}) + "\n")
            new.replace(self._path)
        except OSError:
            new.unlink(missing_ok=True)
        self._written = time.monotonic()
