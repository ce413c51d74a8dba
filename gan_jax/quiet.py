"""Keeps Orbax's noise off the screen while it is at work, and nothing of anyone else's."""

import contextlib
import gc
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

LULL = 1.0  # seconds without a sound after which the tasks that a failed read left behind are taken to have ended


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
        """Call it when the error is gone, since its traceback holds the tasks."""
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
