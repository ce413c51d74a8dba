"""Calls Orbax without its noise: nothing of anyone else's is silenced, and nothing before or after the call."""

import contextlib
import gc
import logging
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from gan_jax.storage import Damaged, NotRegular

T = TypeVar("T")

LULL = 1.0  # seconds without a sound after which the tasks that a failure left behind are taken to have ended


# What flipped, cut, emptied and missing files make Orbax raise. TensorStore's, JSON's and most of its own errors are
# ValueErrors; the last four come of JSON that is valid, but of another form.
_MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError, NotRegular)
_DAMAGE = (ValueError, *_MISSING, KeyError, TypeError, AttributeError, RecursionError)
_NO_DAMAGE = (
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
)  # how TensorStore's ValueErrors for a whole file begin


def quietly(read: Callable[[Path], T], path: Path) -> T:
    """What Orbax's function `read` makes of a checkpoint.

    Raises:
      Damaged: for each of the errors in which reading a damaged one ends: they mean that here, and nowhere else.
      OSError: where the system does not let it be read.
    """
    failed: list[Exception] = []  # the one error, whose traceback holds the tasks beside it
    with quiet() as settle:
        try:
            return read(path)
        except (*_DAMAGE, OSError) as error:
            reason = brief(error)
            damaged = isinstance(error, _DAMAGE) and not str(error).startswith(_NO_DAMAGE)
            failed.append(error)
        settle(failed)
    raise Damaged(reason) if damaged else OSError(reason)


@contextlib.contextmanager
def quiet() -> Iterator[Callable[[list[Exception]], None]]:
    """Drop what is printed, inside, of errors that Orbax raises anyway; yields what waits for the end of what failed.

    Orbax logs each file that it misses, and leaves the tasks beside the one that failed: for each array that is still
    being read TensorStore, in a thread of its own, finds their event loop closed, which only `sys.unraisablehook`
    hears of, and asyncio logs their errors when they are collected. All that is anyone else's is passed on.
    """
    with _FILTERS.lock:
        _FILTERS.install()
    try:
        yield _FILTERS.settle
    finally:
        with _FILTERS.lock:
            _FILTERS.remove()


class _Filters:
    """One for the process: the first to come installs them and the last to go removes them, from whatever thread.

    Were there a hook for each, two that overlap would put back each other's, for good.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._users, self._last = 0, 0.0
        self._hook: Callable[[Any], object] = sys.__unraisablehook__
        self._loggers = [logging.getLogger(), logging.getLogger("absl"), logging.getLogger("asyncio")]

    def install(self) -> None:
        self._users += 1
        if self._users == 1:
            self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
            for logger in self._loggers:
                logger.addFilter(self._others)

    def remove(self) -> None:
        self._users -= 1
        if self._users == 0:
            if (
                sys.unraisablehook == self._unraisable
            ):  # else somebody has put another in its place, which stays
                sys.unraisablehook = self._hook
            for logger in self._loggers:
                logger.removeFilter(self._others)

    def settle(self, failed: list[Exception]) -> None:
        """Wait until the tasks that a failed read or save left behind have ended, and let go of its errors."""
        self._last = time.monotonic()
        while time.monotonic() - self._last < LULL:
            time.sleep(LULL / 10)
        with warnings.catch_warnings():
            _expect_loops_that_never_ran()
            failed.clear()
            gc.collect()

    def _unraisable(self, unraisable: Any) -> None:
        self._last = time.monotonic()
        # TensorStore's comes of no Python object; that of a destructor, such as a notebook's client, does.
        of_tensorstore = unraisable.object is None and "Event loop is closed" in str(unraisable.exc_value)
        # With too few file descriptors asyncio's loop is never made whole, and fails once more as it is collected.
        of_asyncio = unraisable.exc_type is AttributeError and "'_ssock'" in str(unraisable.exc_value)
        if not (self._users and (of_tensorstore or of_asyncio)):
            self._hook(unraisable)

    def _others(self, record: logging.LogRecord) -> bool:
        if record.name == "asyncio":
            error = record.exc_info[1] if record.exc_info else None
            # uvloop's words for a loop of Orbax's that was made with too few file descriptors.
            return not _of_tensorstore(error) and record.msg != "deallocating an open event loop"
        return "/orbax/checkpoint/" not in record.pathname


def _of_tensorstore(error: BaseException | None) -> bool:
    """Whether it is a failure of TensorStore's, which begins with a status; not all of them name the library."""
    with_status = isinstance(error, ValueError) and re.match(r"[A-Z]+(_[A-Z]+)*: ", str(error))
    return bool(with_status) or "tensorstore" in str(error)


_FILTERS = _Filters()


def quiet_to_the_end() -> None:
    """Be quiet while the process ends, which collects what a failed save held: loops that were never made whole."""
    with _FILTERS.lock:
        _FILTERS.install()
    _expect_loops_that_never_ran()


def _expect_loops_that_never_ran() -> None:
    """As with too few file descriptors: such a loop cannot be closed, and what it should have run is not awaited."""
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    warnings.filterwarnings("ignore", "unclosed event loop", ResourceWarning)


def brief(error: Exception) -> str:
    """An error's class and message, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
