"""Checkpoints: the only file that imports Orbax.

A checkpoint holds arrays by name. Beside them are their SHA-256, a digest of the run's config, a score and the log. It
knows nothing of devices: what 8 wrote, 1 restores. Orbax writes it in the background, into a temporary folder that it
renames at the end: a killed run leaves no half-written one. Only names are listed: the scores are read one by one, so
that damage to one stays its own.
"""

import contextlib
import errno
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from gan_jax.errors import UserError
from gan_jax.quiet import brief, quiet, quietly
from gan_jax.storage import Damaged, content_of, not_finite, sha256_of_arrays

KEPT = 3
UNFINISHED = ".orbax-checkpoint-tmp"  # how Orbax names what it has yet to write
TRIES = 20  # how often a folder is listed again at most, in which a running trainer deletes checkpoints

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.EIO, errno.EROFS)  # what TensorStore says at length

MOST_ROWS = 1000  # of the log in a checkpoint

Arrays = dict[str, np.ndarray]
Log = Sequence[dict[str, Any]]
Step = int | Literal["best"] | None  # None is the newest


class NonFiniteState(Exception):
    """A parameter or an optimizer's moment is NaN or infinite; names the first such array."""


class Checkpoints:
    """The checkpoints of one run: the newest 3, those at multiples of `keep_every`, and the one of the lowest score."""

    def __init__(
        self,
        directory: Path,
        *,
        write: bool = False,
        keep_every: int | None = None,
        digest: str | None = None,
        judge: str | None = None,
    ) -> None:
        """To write, which one may at a time, the folder is made, and what a killed run left half-written removed.

        digest: of the config, which is saved with each, and with which those to restore must agree. judge: of what
        gives the scores, which is saved with them.
        """
        self._directory, self._write, self._keep_every, self._digest = directory, write, keep_every, digest
        self._judge = judge
        self._while_open = contextlib.ExitStack()
        self._settle: Callable[[list[Exception]], object] = lambda failed: None
        self._saving: Any = None  # Orbax's answer to the last save
        self._kept_as_best: int | None = None

    def __enter__(self) -> "Checkpoints":
        if self._write:
            self._open()
            self._settle = self._while_open.enter_context(quiet())
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with self._while_open, contextlib.suppress(UserError) if error else contextlib.nullcontext():
            self.wait()

    @property
    def steps(self) -> list[int]:
        """The steps there are checkpoints of now, ascending."""
        names = os.listdir(self._directory) if self._directory.is_dir() else []
        steps = sorted(int(name) for name in names if name.isdecimal() and str(int(name)) == name)
        return [step for step in steps if self.path(step).is_dir()]

    @property
    def best(self) -> int | None:
        """The step of the checkpoint with the lowest score, the first such; None if none has a score.

        Of those by the judge of the newest score: other judges' numbers cannot be compared with it.
        """
        return self._find_best({})

    def path(self, step: int) -> Path:
        """The folder of one checkpoint."""
        return self._directory / str(step)

    def save(self, arrays: Arrays, step: int, score: float | None = None, log: Log = ()) -> None:
        """Save the arrays in the background, once they are copied; lower scores are better. `log` is kept beside them.

        Raises NonFiniteState for what cannot be trained on, `UserError` if it, or the one before, cannot be written.
        """
        if name := not_finite(arrays):
            raise NonFiniteState(name)
        self.wait()  # so that the score of the one before can be read
        score = None if score is None else float(score)  # an integer or a NumPy number too
        self._kept_as_best = self._find_best({step: score})
        metadata = {
            "sha256": sha256_of_arrays(arrays),
            "config": self._digest,
            "score": score,
            "judge": self._judge,
            "log": list(log)[:: 1 + len(log) // MOST_ROWS],
        }
        with self._errors(), _by_itself():
            path = self.path(step).absolute()
            self._saving = ocp.save_async(path, arrays, overwrite=True, custom_metadata=metadata)

    def wait(self) -> None:
        """Return once everything saved is on disk. Raises `UserError` if it cannot be."""
        with self._errors():
            self._finish()

    def restore(self, warn: Callable[[str], object], step: Step = None) -> tuple[int, Arrays] | None:
        """The newest intact checkpoint's step and arrays, or those of `step`, or the best's; None if there is none.

        A damaged one is passed over for the one before it, and `warn` told so. What a running trainer deletes
        meanwhile was not there. Raises `UserError` if all are damaged, or the asked one is missing or damaged.
        """
        told: set[int] = set()
        for _ in range(TRIES):
            wanted = self._wanted(step)
            for candidate in wanted:
                try:
                    return candidate, self._load(candidate)
                except Damaged as error:
                    damage = f"checkpoint {self.path(candidate)} is damaged ({error})"
                # A trainer deletes the newest and the best after it has finished another in their place.
                if candidate not in self.steps or self._wanted(step)[:1] != wanted[:1]:
                    break
                if candidate == wanted[-1]:
                    advice = "train in a new --workdir, or put back a copy"
                    raise UserError(f"{damage} and no other can be used: {advice}.")
                if candidate not in told:
                    warn(f"{damage}; trying the one before it")
                told.add(candidate)
            else:
                return None
        problem = f"the checkpoints in {self._directory} are deleted faster than they can be read"
        raise UserError(f"{problem}: try again, or give the trainer a higher --checkpoint_every.")

    def set_aside_after(self, step: int) -> None:
        """Move the checkpoints later than `step`, damaged ones, to `damaged/` beside the folder.

        Raises `UserError` if that is a file.
        """
        aside = self._directory.parent / "damaged"
        if later := [s for s in self.steps if s > step]:
            self.wait()
            try:
                aside.mkdir(exist_ok=True)
            except FileExistsError:
                raise UserError(
                    f"{aside} is a file, and damaged checkpoints must go to a folder there: move it."
                ) from None
            for number in later:
                shutil.rmtree(aside / str(number), ignore_errors=True)
                self.path(number).rename(aside / str(number))

    def _open(self) -> None:
        with self._errors():
            self._directory.mkdir(parents=True, exist_ok=True)
            for half_written in self._directory.glob(f"*{UNFINISHED}"):
                shutil.rmtree(half_written)

    def _finish(self) -> None:
        """Wait for the checkpoint that is being written; then there are more than are kept."""
        if self._saving is None:
            return
        saving, self._saving = self._saving, None
        saving.result()
        steps, often = self.steps, self._keep_every
        kept = {*steps[-KEPT:], self._kept_as_best, *(step for step in steps if often and step % often == 0)}
        for step in set(steps) - kept:
            leaving = self.path(step).with_suffix(UNFINISHED)
            self.path(step).rename(leaving)  # killed on the way, nobody reads half of one
            shutil.rmtree(leaving)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # a full disk is TensorStore's ValueError
            self._settle([])  # while it is quiet here: the tasks beside the one that failed go on
            full = next((words for words in map(os.strerror, _FULL) if words in str(error)), None)
            text = f"a checkpoint in {self._directory} cannot be written ({full or brief(error)})."
            raise UserError(text) from error

    def _wanted(self, step: Step) -> list[int]:
        """The steps to try, best first. Raises `UserError` if there is none such."""
        if step == "best":
            return [] if (best := self.best) is None else [best]
        if step not in (None, *(steps := self.steps)):
            have = ", ".join(map(str, steps)) or "none"
            raise UserError(f"no checkpoint of step {step} in {self._directory}; there are: {have}.")
        return steps[::-1] if step is None else [step]

    def _find_best(self, saving: dict[int, float | None]) -> int | None:
        """The best of `saving` and a list that stood still: in place of one that lost its score comes another."""
        for _ in range(TRIES):
            steps, found = self.steps, dict[int, tuple[Any, Any]]()
            for step in steps:
                with contextlib.suppress(Damaged):
                    metadata = self._read(_metadata, step)
                    found[step] = metadata.get("score"), metadata.get("judge")
            if self.steps == steps:
                break
        found |= {step: (score, self._judge) for step, score in saving.items()}
        scored = {i: x for i, x in found.items() if isinstance(x[0], float) and math.isfinite(x[0])}
        if not scored:
            return None
        judge = scored[max(scored)][1]
        return min((score, i) for i, (score, its) in scored.items() if its == judge)[1]

    def _load(self, step: int) -> Arrays:
        arrays: Any = self._read(_arrays, step)
        if not isinstance(arrays, dict) or {*map(type, arrays.values())} - {np.ndarray}:
            raise Damaged("it holds something other than named arrays")
        metadata = self._read(_metadata, step)
        if sha256_of_arrays(arrays) != metadata.get("sha256"):
            raise Damaged("its contents do not match their SHA-256")
        if self._digest and metadata.get("config") not in (None, self._digest):
            raise UserError(
                f"checkpoint {self.path(step)} was made with other values than those in config.json: put back the "
                "config.json that the run wrote."
            )
        return arrays

    def log(self, step: int) -> list[dict[str, Any]]:
        """The log that was saved with a checkpoint; at most 1,000 rows of it, evenly chosen."""
        found = self._read(_metadata, step).get("log")
        return found if isinstance(found, list) else []

    def _read(self, read: Callable[[Path], Any], step: int) -> Any:
        try:
            with _by_itself():
                return quietly(read, self.path(step).absolute())
        except OSError as error:
            raise UserError(f"checkpoint {self.path(step)} cannot be read ({error}).") from error


@contextlib.contextmanager
def _by_itself() -> Iterator[None]:
    """In which Orbax waits for no other process of a run: what there is to save, each of them has."""
    context = ocp.Context()
    context.multiprocessing.primary_host = jax.process_index()
    context.multiprocessing.active_processes = {jax.process_index()}
    # Where it fails to make a folder in the background, its thread waits five minutes for it, and so does the exit.
    context.asynchronous.create_directories_asynchronously = False
    with context, contextlib.ExitStack() as stack:
        if jax.process_count() > 1:
            from unittest import mock

            from orbax.checkpoint.experimental.v1._src.saving import execution

            # It asks all processes for their folder, whichever are active, and would wait for ever.
            stack.enter_context(mock.patch.object(execution, "_check_directory_consistency", create=True))
        yield


def _arrays(path: Path) -> Any:
    """What Orbax loads; it would wait for ever at a pipe."""
    if strange := [p.name for p in path.rglob("*") if not (p.is_file() or p.is_dir())]:
        raise ValueError(f"{strange[0]} in it is no regular file")
    return ocp.load(path)


def _metadata(path: Path) -> dict[str, Any]:
    """What is saved beside the arrays. Orbax's function opens the arrays as well, and swallows what it meets there."""
    found = json.loads(content_of(path / "_CHECKPOINT_METADATA"))
    if not isinstance(found, dict) or not isinstance(custom := found.get("custom_metadata"), dict):
        raise ValueError("its metadata are not such as Orbax writes")
    return custom
