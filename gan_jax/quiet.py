"""Calls Orbax without its noise: nothing of anyone else's is silenced, and nothing before or after the call."""

import contextlib
import gc
import logging
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from gan_jax.storage import Damaged

T = TypeVar("T")

LULL = 1.0  # seconds without a sound after which the tasks that a failed read left behind are taken to have ended


# What flipped, cut, emptied and missing files make Orbax raise. TensorStore's, JSON's and most of its own errors are
# ValueErrors; the last four come of JSON that is valid, but of another form.
_MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
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
    with quiet() as settle:
        try:
            return read(path)
        except (*_DAMAGE, OSError) as error:
            reason = brief(error)
            damaged = isinstance(error, _DAMAGE) and not str(error).startswith(_NO_DAMAGE)
        settle()  # here, where the error is gone, whose traceback holds the tasks beside it
    raise Damaged(reason) if damaged else OSError(reason)


@contextlib.contextmanager
def quiet() -> Iterator[Callable[[], None]]:
    """Drop what is printed, inside, of errors that Orbax raises anyway; yields what waits for a failed read's end.

    Orbax logs each file that it misses, and leaves the tasks beside the one that failed: for each array that is still
    being read TensorStore, in a thread of its own, finds their event loop closed, which only `sys.unraisablehook`
    hears of, and asyncio logs their errors when they are collected.
    """
    hook, last = sys.unraisablehook, 0.0

    def filtered(unraisable: Any) -> None:
        nonlocal last
        last = time.monotonic()
        if "Event loop is closed" not in str(unraisable.exc_value):
            hook(unraisable)

    def settle() -> None:
        nonlocal last
        last = time.monotonic()
        while time.monotonic() - last < LULL:
            time.sleep(LULL / 10)
        gc.collect()

    def others(record: logging.LogRecord) -> bool:
        of_tensorstore = record.exc_info and "tensorstore" in str(record.exc_info[1])
        return "/orbax/" not in record.pathname and not of_tensorstore

    with contextlib.ExitStack() as stack:
        for logger in (logging.getLogger(), logging.getLogger("absl"), logging.getLogger("asyncio")):
            logger.addFilter(others)
            stack.callback(logger.removeFilter, others)
        stack.callback(setattr, sys, "unraisablehook", hook)
        sys.unraisablehook = filtered
        yield settle


def brief(error: Exception) -> str:
    """An error's class and message, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
