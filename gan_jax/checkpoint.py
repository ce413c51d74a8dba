"""Checkpoints: the only file that imports Orbax.

A checkpoint holds arrays by name, and as metadata their SHA-256 and score. It knows nothing of devices: what 8 wrote,
1 restores. Orbax writes it in the background, into a temporary folder that it renames at the end, so a killed run
leaves no half-written one. Only names are listed: the scores are read one by one, so that damage to one stays its own.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
from orbax.checkpoint import v1 as ocp

from gan_jax.errors import UserError
from gan_jax.quiet import quiet
from gan_jax.storage import Damaged, sha256_of_arrays

KEPT = 3
TRIES = 20  # how often a folder is listed again at most, in which a running trainer deletes checkpoints

# What flipped, cut, emptied and missing files make Orbax raise. TensorStore's, JSON's and most of its own errors are
# ValueErrors; the last four come of JSON that is valid, but of another form.
_DAMAGE = (ValueError, OSError, KeyError, TypeError, AttributeError, RecursionError)

Arrays = dict[str, np.ndarray]
Step = int | Literal["best"] | None  # None is the newest


class NonFiniteState(Exception):
    """A parameter or an optimizer's moment is NaN or infinite; names the first such array."""


class Checkpoints:
    """The checkpoints of one run: the newest 3, those at multiples of `keep_every`, and the one of the lowest score."""

    def __init__(self, directory: Path, *, write: bool = False, keep_every: int | None = None) -> None:
        """To write, the folder is made if need be, and what a killed run left half-written is removed, on entry.

        Only one may write at a time; reading never touches what a running writer is about to finish.
        """
        self._directory, self._write, self._keep_every = directory, write, keep_every
        self._while_open = contextlib.ExitStack()

    def __enter__(self) -> "Checkpoints":
        if self._write:
            self._open()
            self._while_open.enter_context(quiet())
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with self._while_open, contextlib.suppress(*[UserError] * (error is not None)), self._errors():
            if self._write:
                self._orbax.close()

    @property
    def steps(self) -> list[int]:
        """The steps there are checkpoints of now, ascending."""
        names = os.listdir(self._directory) if self._directory.is_dir() else []
        steps = [int(name) for name in names if name.isdecimal() and str(int(name)) == name]
        return sorted(step for step in steps if self.path(step).is_dir())

    @property
    def best(self) -> int | None:
        """The step of the checkpoint with the lowest score; the first of them, None if none has a score."""
        return _lowest(self._read_scores())

    def path(self, step: int) -> Path:
        """The folder of one checkpoint."""
        return self._directory / str(step)

    def save(self, arrays: Arrays, step: int, score: float | None = None) -> None:
        """Save the arrays in the background, once they are copied; lower scores are better.

        Raises NonFiniteState instead of keeping what cannot be trained on, `UserError` if this checkpoint
        or the one before, which was under way, cannot be written.
        """
        for name, array in arrays.items():
            if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
                raise NonFiniteState(name)
        self._scores.pop(step, None)
        if score is not None:
            self._scores[step] = score
        metadata = {"sha256": _digest(arrays), "score": score}
        with self._errors():
            self._orbax.save_async(step, arrays, force=True, overwrite=True, custom_metadata=metadata)

    def wait(self) -> None:
        """Return once everything saved is on disk. Raises `UserError` if it cannot be."""
        with self._errors():
            self._orbax.wait()

    def restore(self, warn: Callable[[str], object], step: Step = None) -> tuple[int, Arrays] | None:
        """The newest intact checkpoint's (or that of `step`'s, or the best's) step and arrays.

        A damaged one is passed over for the one before it, and `warn` told so. What a running trainer deletes
        meanwhile was not there. None if there is none; raises `UserError` if all are damaged, or the asked one is
        missing or damaged.
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
        raise UserError(
            f"{problem}: try again, or give the run that writes them a higher --checkpoint_every."
        )

    def set_aside_after(self, step: int) -> None:
        """Move the checkpoints later than `step`, damaged ones, to `damaged/` beside the folder."""
        aside = self._directory.parent / "damaged"
        if later := [s for s in self.steps if s > step]:
            self._orbax.close()
            for number in later:
                aside.mkdir(exist_ok=True)
                shutil.rmtree(aside / str(number), ignore_errors=True)
                self.path(number).rename(aside / str(number))
            self._open()

    def _open(self) -> None:
        self._scores = self._read_scores()
        # For Orbax's own BestN it would have to read the scores as it lists the folder.
        is_best = lambda checkpoints, context: [c.step == _lowest(self._scores) for c in checkpoints]
        policies = ocp.training.preservation_policies
        keep = [policies.LatestN(KEPT), SimpleNamespace(should_preserve=is_best)]
        keep += [policies.EveryNSteps(self._keep_every)] if self._keep_every else []
        with self._errors():
            self._directory.mkdir(parents=True, exist_ok=True)
            # Orbax's own clean-up comes with its reading of every checkpoint, which one damaged file ends.
            for half_written in self._directory.glob("*.orbax-checkpoint-tmp"):
                shutil.rmtree(half_written)
            self._orbax = ocp.training.Checkpointer(
                self._directory.absolute(),
                preservation_policy=policies.AnyPreservationPolicy(keep),
                lightweight_initialize=True,
            )

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # a full disk is TensorStore's ValueError
            what = f"a checkpoint in {self._directory} cannot be written ({_brief(error)})."
            raise UserError(what) from error

    def _wanted(self, step: Step) -> list[int]:
        """The steps to try, best first. Raises `UserError` if there is none such."""
        if step == "best":
            return [] if (best := self.best) is None else [best]
        steps = self.steps
        if step is not None and step not in steps:
            have = ", ".join(map(str, steps)) or "none"
            raise UserError(f"no checkpoint of step {step} in {self._directory}; there are: {have}.")
        return steps[::-1] if step is None else [step]

    def _read_scores(self) -> dict[int, float]:
        """The scores by step, of a list that stood still: one that lost its score lacks the one in its place."""
        scores: dict[int, float] = {}
        for _ in range(TRIES):
            steps, scores = self.steps, {}
            for step in steps:
                with contextlib.suppress(Damaged):
                    score = self._metadata(step).get("score")
                    scores |= {step: score} if isinstance(score, float) else {}
            if self.steps == steps:
                break
        return scores

    def _load(self, step: int) -> Arrays:
        arrays: Any = self._read(ocp.load, step)
        leaves = arrays.items() if isinstance(arrays, dict) else [(None, arrays)]
        if not all(isinstance(name, str) and isinstance(array, np.ndarray) for name, array in leaves):
            raise Damaged("it holds something other than named arrays")
        if _digest(arrays) != self._metadata(step).get("sha256"):
            raise Damaged("its contents do not match their SHA-256")
        return arrays

    def _metadata(self, step: int) -> dict[str, Any]:
        return self._read(ocp.checkpointables_metadata, step).custom_metadata or {}

    def _read(self, read: Callable[[Path], Any], step: int) -> Any:
        """What Orbax reads of one checkpoint: here alone its errors mean damage."""
        with quiet() as settle:
            try:
                return read(self.path(step).absolute())
            except PermissionError as error:
                raise UserError(f"checkpoint {self.path(step)} cannot be read ({_brief(error)}).") from error
            except _DAMAGE as error:
                reason = _brief(error)
            settle()  # here, where the error, which holds the tasks beside it, is gone
        raise Damaged(reason)


def _lowest(scores: dict[int, float]) -> int | None:
    return min(scores, key=lambda step: (scores[step], step)) if scores else None


def _digest(arrays: Arrays) -> str:
    return sha256_of_arrays(dict(sorted(arrays.items())))  # Orbax gives them back in another order


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
