"""What a signal does: Ctrl-C, SIGTERM, and the SIGHUP of a terminal that goes away.

While a run trains, the first lets the steps at hand end and be saved, and a second one ends the process at once. After
the last step the first lets the run's files be finished. Before, and in other commands, one ends it at once. What was
being written is then removed, not left half-written.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

from gan_jax.storage import remove_unfinished

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# What is said to the first of them.
STEPS = "stopping: the steps at hand are finished and saved first"
CHUNKS = "stopping: the steps before the chunk at hand are saved first"
FILES = "the run is done, and its files are being finished"


class Stopped(Exception):
    """The run was asked to stop by a signal, and saved first."""

    def __init__(self, step: int, total: int, number: int) -> None:
        """At `step` of `total`, by signal `number`."""
        super().__init__(f"Stopped at step {step} of {total}; rerun the same command to go on.")
        self.exit_code = 128 + number  # the shell's convention, so that `train && …` does not go on


@contextlib.contextmanager
def on_signals(act: Callable[[int], object]) -> Iterator[None]:
    """Call `act(number)` for each signal, at once and on a thread of its own.

    Python's own handlers wait until the main thread is back from what it computes, which may be a whole chunk of steps;
    and the KeyboardInterrupt that they raise is lost where JAX runs one in a callback of its own. A signal that is
    ignored, as `nohup` has it, stays so. Off the main thread, where Python allows no handlers, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [number for number in NUMBERS if signal.getsignal(number) != signal.SIG_IGN]
    receiver, sender = os.pipe()
    os.set_blocking(sender, False)
    watcher = threading.Thread(target=_watch, args=(receiver, numbers, act), daemon=True)
    watcher.start()
    before = signal.set_wakeup_fd(sender, warn_on_full_buffer=False)  # the system's handler writes to it
    old = {number: signal.signal(number, lambda number, frame: None) for number in numbers}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        os.close(sender)
        watcher.join()
        os.close(receiver)


def _watch(receiver: int, numbers: list[signal.Signals], act: Callable[[int], object]) -> None:
    while received := os.read(receiver, 1):
        if received[0] in numbers:
            act(received[0])


@contextlib.contextmanager
def signals(tell: Callable[[int], object] = lambda number: None, words: str = STEPS) -> Iterator[list[int]]:
    """The signals received: the first is answered with `words` and no more. A second one ends the process at once.

    `tell` is called with the first one.
    """
    received: list[int] = []

    def receive(number: int) -> None:
        if received:
            end(number)
        received.append(number)
        tell(number)
        say(f"{words}; once more to stop at once")

    with on_signals(receive):
        yield received


def end(number: int) -> None:
    """End the process now, as the signal `number` would, with nothing half-written."""
    say("interrupted")
    remove_unfinished()
    os._exit(128 + number)


def say(text: str) -> None:
    """A line on standard error. Not by print, which may be what was interrupted."""
    with contextlib.suppress(OSError):  # whoever listened has gone
        os.write(2, f"\n{text}\n".encode())
