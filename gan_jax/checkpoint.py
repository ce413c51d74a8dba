"""Checkpoints: the only file that imports Orbax.

A checkpoint holds the whole state as host arrays, named by their path in the state, and their SHA-256.
It knows nothing of devices: what 8 wrote, 1 restores. Orbax writes it in the background, into a temporary
folder that it renames at the end, so a killed run leaves no half-written one.
"""

import contextlib
import hashlib
import logging
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from orbax.checkpoint import v1 as ocp

from gan_jax.errors import UserError

GanState = Any

KEPT = 3

# A running trainer deletes checkpoints under a reader. How often one looks again at most, and how many seconds one
# waits for a checkpoint that may be half gone to be gone, which takes some 10 ms.
TRIES = 20
PATIENCE = 2.0

Step = int | Literal["best"] | None  # None is the newest
Warn = Callable[[str], None]
T = TypeVar("T")

# Orbax logs every save, each file that it misses, and a failed read once for each of its tasks: what matters is raised.
logging.getLogger("absl").setLevel(logging.CRITICAL)
logging.getLogger("asyncio").setLevel(logging.CRITICAL)
logging.getLogger().addFilter(lambda record: record.module != "orbax_v0_layout")


class NonFiniteState(Exception):
    """A parameter or an optimizer's moment is NaN or infinite; names the first such array."""


class Checkpoints:
    """The checkpoints of one run, in `directory`.

    Kept are the newest 3, those at multiples of `keep_every`, and the one with the lowest score, if any has one.
    """

    def __init__(self, directory: Path, *, write: bool = False, keep_every: int | None = None) -> None:
        """Open the folder. To write, it is made if need be, and what a killed run left half-written is removed.

        Only one may write at a time; reading never touches what a running writer is about to finish.
        """
        policies = ocp.training.preservation_policies
        keep: list = [policies.LatestN(KEPT)]
        # Orbax takes the highest for the best.
        worth = lambda metrics: -metrics["score"]
        keep.append(policies.BestN(get_metric_fn=worth, n=1, keep_checkpoints_without_metrics=False))
        if keep_every:
            keep.append(policies.EveryNSteps(keep_every))
        self._checkpointer = _listed(
            lambda: ocp.training.Checkpointer(
                directory.absolute(),
                save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
                preservation_policy=policies.AnyPreservationPolicy(keep),
                cleanup_tmp_directories=write,
            )
        )
        self._directory = directory

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._errors("written") if error is None else contextlib.suppress(Exception):
            self._checkpointer.close()

    @property
    def steps(self) -> list[int]:
        """The steps there are checkpoints of, ascending."""
        return [checkpoint.step for checkpoint in self._checkpointer.checkpoints]

    @property
    def best(self) -> int | None:
        """The step of the checkpoint with the lowest score; the first of them, None if none has a score."""
        scored = [(c.metrics["score"], c.step) for c in self._checkpointer.checkpoints if c.metrics]
        return min(scored)[1] if scored else None

    def path(self, step: int) -> Path:
        """The folder of one checkpoint."""
        return self._directory / str(step)

    def save(self, state: GanState, score: float | None = None) -> None:
        """Save the state at its step, in the background once it is copied to the host; lower scores are better.

        Raises NonFiniteState instead of keeping what cannot be trained on, `UserError` if this checkpoint
        or the one before, which was under way, cannot be written.
        """
        arrays = _to_host(state)
        for name, array in arrays.items():
            if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
                raise NonFiniteState(name)
        with self._errors("written"):
            self._checkpointer.save_async(
                int(arrays[".step"]),
                arrays,
                overwrite=True,
                metrics=None if score is None else {"score": score},
                custom_metadata={"sha256": _digest(arrays)},
            )

    def wait(self) -> None:
        """Return once everything saved is on disk. Raises `UserError` if it cannot be."""
        with self._errors("written"):
            self._checkpointer.wait()

    def restore(self, like: GanState, warn: Warn, step: Step = None) -> GanState | None:
        """The newest intact checkpoint (or that of `step`, or the best); None if there is none.

        `like` gives the tree's structure: a state, or its `jax.eval_shape`. A damaged checkpoint is passed
        over for the one before it, and `warn` told so. What a running trainer deletes meanwhile was not there:
        it is the newest, or the best, of those that are there now. Raises `UserError` if all are damaged, or
        the asked one is missing or damaged.
        """
        told: set[int] = set()
        for _ in range(TRIES):
            wanted = self._wanted(step)
            if not wanted:
                return None
            for candidate in wanted:
                try:
                    return self._load(candidate, like)
                except _Damaged as error:
                    if self._deleted(candidate, wanted, step):
                        break
                    if candidate == wanted[-1]:
                        raise UserError(
                            f"checkpoint {self.path(candidate)} is damaged ({error}) and no other can be used: "
                            "train in a new --workdir, or put back a copy."
                        ) from error
                    if candidate not in told:
                        told.add(candidate)
                        warn(
                            f"checkpoint {self.path(candidate)} is damaged ({error}); trying the one before it"
                        )
        raise UserError(
            f"the checkpoints in {self._directory} are deleted faster than they can be read: try again, or give "
            "the run that writes them a higher --checkpoint_every."
        )

    def set_aside_after(self, step: int) -> None:
        """Move the checkpoints later than `step`, damaged ones, to `damaged/` beside the folder."""
        aside = self._directory.parent / "damaged"
        for later in [s for s in self.steps if s > step]:
            aside.mkdir(exist_ok=True)
            shutil.rmtree(aside / str(later), ignore_errors=True)
            self.path(later).rename(aside / str(later))
        self._checkpointer.reload()

    def _wanted(self, step: Step) -> list[int]:
        """The steps to try, best first. Raises `UserError` if there is none such."""
        steps = self.steps
        if step is None:
            return steps[::-1]
        if step == "best":
            return [] if (best := self._settled_best()) is None else [best]
        if step not in steps:
            have = ", ".join(map(str, steps)) or "none"
            raise UserError(f"no checkpoint of step {step} in {self._directory}; there are: {have}.")
        return [step]

    def _settled_best(self) -> int | None:
        """`best`, of a list that stood still: one that lost a score while it was read lacks the one in its place."""
        for _ in range(TRIES):
            steps, best = self.steps, self.best
            _listed(self._checkpointer.reload)
            if self.steps == steps:
                return best
        return self.best

    def _deleted(self, failed: int, wanted: list[int], step: Step) -> bool:
        """Whether what could not be read is deleted, not damaged: then another is wanted now, or there is none.

        The newest and the best are deleted after another was finished in their place. Of others the half may
        still be there, which is waited for.
        """
        deadline = time.monotonic() + PATIENCE
        _listed(self._checkpointer.reload)
        while step is not None and failed in self.steps[:-KEPT] and time.monotonic() < deadline:
            time.sleep(0.05)
            _listed(self._checkpointer.reload)
        return failed not in self.steps or self._wanted(step)[:1] != wanted[:1]

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except (
            Exception
        ) as error:  # whatever a full disk or a removed folder makes Orbax or its storage raise
            raise UserError(
                f"a checkpoint in {self._directory} cannot be {what} ({_brief(error)})."
            ) from error

    def _load(self, step: int, like: GanState) -> GanState:
        paths, structure = jax.tree_util.tree_flatten_with_path(like)
        hook = sys.unraisablehook
        sys.unraisablehook = _without_closed_loops(hook)
        try:
            arrays = self._checkpointer.load(step)
            digest = (self._checkpointer.metadata(step).custom_metadata or {})["sha256"]
            arrays = {(name := jax.tree_util.keystr(path)): np.asarray(arrays[name]) for path, _ in paths}
        except (PermissionError, MemoryError) as error:  # no fault of the checkpoint's
            raise UserError(f"checkpoint {self.path(step)} cannot be read ({_brief(error)}).") from error
        except Exception as error:  # whatever a damaged file makes Orbax or its storage raise
            raise _Damaged(_brief(error)) from error
        sys.unraisablehook = hook
        if _digest(arrays) != digest:
            raise _Damaged("its contents do not match their SHA-256")
        leaves = [_like(leaf, arrays[jax.tree_util.keystr(path)]) for path, leaf in paths]
        return jax.tree.unflatten(structure, leaves)


class _Damaged(Exception):
    pass


def _listed(read: Callable[[], T]) -> T:
    """What `read` returns, which lists the folder: anew where a checkpoint is deleted under it."""
    for _ in range(TRIES - 1):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return read()
    return read()


def _without_closed_loops(hook: Callable[[Any], object]) -> Callable[[Any], None]:
    """The hook for exceptions nobody can catch, less those of a failed read's other tasks: Orbax closes their
    event loop under them, and each would print a traceback, also after the failure was dealt with."""

    def filtered(unraisable: Any) -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            hook(unraisable)

    return filtered


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"


def _is_key(leaf: Array | jax.ShapeDtypeStruct) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_host(state: GanState) -> dict[str, np.ndarray]:
    """The state's arrays on the host, by their path, in the order of `jax.tree.leaves`."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    data = [jax.random.key_data(x) if _is_key(x) else x for _, x in leaves]
    names = [jax.tree_util.keystr(path) for path, _ in leaves]
    return dict(zip(names, map(np.asarray, jax.device_get(data)), strict=True))


def _like(leaf: Array | jax.ShapeDtypeStruct, array: np.ndarray) -> Array:
    if not _is_key(leaf):
        return jnp.asarray(array)
    return jax.random.wrap_key_data(jnp.asarray(array))


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
