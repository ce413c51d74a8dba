"""What the processes of a run have in common: how they agree, and how each ends, with a line, when one cannot go on."""

import contextlib
import os
import sys
import threading
import time
import traceback
from typing import NoReturn

import jax

from gan_jax import cli
from gan_jax.errors import Diverged
from gan_jax.processes.links import Words
from gan_jax.processes.place import Place
from gan_jax.storage import remove_unfinished

WAIT = 300.0  # seconds for all to come, as JAX has it
HEARTBEAT = 600  # seconds after which JAX itself would miss a process, long after `links` does
SHUTDOWN = 60  # seconds for all to leave, when all is done
GRACE = 5.0  # seconds in which another process's end explains the error that it caused here
FAREWELL = 2.0  # seconds for last words to arrive
GONE = 1  # the exit code where a process has gone

GO_ON = "Run the same commands again to go on from the last checkpoint, in as many processes as you like."


class Job:
    """One process of a run; see `Leader` and `Follower`."""

    def __init__(self, place: Place) -> None:
        """At `place`."""
        self.place = place
        self.leads = place.process == 0  # it alone has the workdir
        self._port = 0  # of this machine, where JAX finds process 0
        self._lock = threading.Lock()
        self._over = False

    def check_same(self, values: Words) -> None:
        """Raises `UserError` in the leader if another process was not given the same values."""
        raise NotImplementedError

    def stops(self, received: list[int]) -> bool:
        """Asked by all after each chunk: whether all stop here. `received`, the signals, then holds the same in all."""
        raise NotImplementedError

    def signalled(self, number: int) -> None:
        """Tell the leader of a signal at once."""

    def end(self) -> None:
        """All is done: leave together."""
        raise NotImplementedError

    def _tell(self, text: str, code: int) -> None:
        """The others, why they end."""
        raise NotImplementedError

    def initialize(self) -> None:
        """Let JAX find the other processes' devices."""
        jax.config.update("jax_enable_preemption_service", False)  # its handler of SIGTERM would replace ours
        here = f"127.0.0.1:{self._port}"
        place = self.place
        jax.distributed.initialize(
            here,
            place.num,
            place.process,
            place.local_device_ids,
            initialization_timeout=int(WAIT),
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=SHUTDOWN,
            coordinator_bind_address=here,
        )

    def explain(self, error: Exception) -> NoReturn:
        """End all processes because of an error in this one."""
        if isinstance(error, Diverged):
            if not self.leads:  # all see it, and the leader knows of the last checkpoint
                time.sleep(WAIT)
            self.fail(str(error), 1)
        if (text := cli.explained(error)) is not None:
            self.fail(text, 2)
        time.sleep(GRACE)
        traceback.print_exc()
        self.fail(f"{type(error).__name__}, of which its own output tells more.", GONE)

    def fail(self, text: str, code: int) -> NoReturn:
        """End all processes, with a line, because this one cannot go on."""
        self._leave(text, f"process {self.place.process} stopped the run: {text}", code)
        time.sleep(2 * FAREWELL)  # another thread ends this process
        os._exit(code)

    def _leave(self, text: str, told: str | None, code: int) -> None:
        """End this process with a line, and nothing half-written; returns only where another thread does so already."""
        if not self._lock.acquire(blocking=False):
            return
        with contextlib.suppress(OSError):
            os.write(2, f"error: {text}\n".encode())
        if told is not None:
            self._tell(told, code)
        remove_unfinished()
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(code)  # JAX's own way out would wait for the others

    def _shut_down(self) -> None:
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # all is done, whoever has gone meanwhile
            jax.distributed.shutdown()
