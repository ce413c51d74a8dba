"""An end to what may never end, in this process."""

import contextlib
import signal
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def alarm(seconds: int, ring: Callable[[], object]) -> Iterator[None]:
    """Calls `ring`, which raises, where what is inside takes longer. In the main thread alone, as all signals."""
    before = signal.signal(signal.SIGALRM, lambda *_: ring())
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
