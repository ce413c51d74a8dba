"""Stopping a run politely: a signal lets the steps at hand end, and be saved."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

from gan_jax.gan import Gan
from gan_jax.population import Population


class Stopped(Exception):
    """The run was asked to stop by a signal, and saved first."""

    def __init__(self, gan: Gan | Population, number: int) -> None:
        """At the step of `gan`, by signal `number`."""
        super().__init__(f"Stopped at step {gan.step} of {gan.plan.total}; rerun the same command to go on.")
        self.exit_code = 128 + number  # the shell's convention, so that `train && …` does not go on


@contextlib.contextmanager
def signals() -> Iterator[list[int]]:
    """The SIGINT (Ctrl-C) and SIGTERM received: the chunk at hand then ends and is saved. A second one kills."""
    received: list[int] = []

    def receive(number: int, frame: Any) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        # Not by print, which may be what was interrupted.
        os.write(
            2, b"\nstopping: the steps at hand are finished and saved first; once more to stop at once\n"
        )

    if threading.current_thread() is not threading.main_thread():  # Python allows handlers there alone
        yield received
        return
    old = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
