"""A run in several processes: `joined` makes this process one of them, and sees to it that all end together.

JAX carries the arrays. What it leaves open goes over `links`: process 0, the leader, says after each chunk whether all
go on, and learns of signals. Whoever fails says why, and whoever falls silent is missed: every process then ends with
one line. Nobody waits for a process that is gone.
"""

import contextlib
import json
import os
import queue
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from gan_jax import cli, links
from gan_jax.errors import Diverged, UserError
from gan_jax.links import Line, Words
from gan_jax.processes import Place
from gan_jax.stopping import Stopped
from gan_jax.storage import remove_unfinished

WAIT = 300.0  # seconds for all to come, as JAX has it
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
            place.count,
            place.process,
            place.local_device_ids,
            initialization_timeout=int(WAIT),
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


class Leader(Job):
    """Process 0, to which the others hold a line each."""

    def __init__(self, place: Place, values: Words) -> None:
        """Waits until all others are there, with the same values. Raises `UserError` if they are not."""
        super().__init__(place)
        self._port = links.free_port()
        self._values: Words = json.loads(json.dumps(values))
        self._lines: dict[int, Line] = {}
        self._told: dict[int, Words] = {}
        self._refusal: str | None = None
        self._signals: list[int] = []
        self._news = threading.Condition()
        links.serve(place.address, self._greet)
        self._await(self._lines)
        for line in self._lines.values():
            line.say(go=True)

    def _await(self, arrived: dict[int, Any]) -> None:
        others = range(1, self.place.count)
        with self._news:
            self._news.wait_for(lambda: self._refusal or len(arrived) == len(others), WAIT)
        if self._refusal is None and (missing := [i for i in others if i not in arrived]):
            named = f"process {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else "")
            self._refusal = f"{named} of {self.place.count} did not come within {WAIT:g} s: start all of them."
        if self._refusal is not None:
            self._tell(self._refusal, 2)
            raise UserError(self._refusal)

    def _greet(self, connection: socket.socket, hello: Words) -> bool:
        """Take a process in, or tell it why not; or lead it to JAX. Returns whether the connection is kept."""
        if "jax" in hello:
            links.lead_to(self._port, connection)
            return False
        process, count = hello["process"], hello["of"]
        with self._news:
            if len(self._lines) == self.place.count - 1:
                refused = f"the run at this --coordinator has all of its {self.place.count} processes already."
            elif process in self._lines:
                refused = f"there is a --process_id={process} already: give each process a number of its own."
            elif count != self.place.count or process not in range(1, count):
                refused = f"process {process} has --num_processes={count}, and process 0 {self.place.count}."
                self._refusal = refused
            else:
                refused = self._refusal = self._differing(process, hello["values"])
            if refused:
                connection.sendall(json.dumps({"refused": refused}).encode() + b"\n")
            else:
                heard, lost = (lambda words: self._heard(process, words)), (lambda: self._lost(process))
                self._lines[process] = Line(connection, heard, lost)
                self._lines[process].say(welcome=True)
            self._news.notify_all()
        return not refused

    def _differing(self, process: int, there: Words) -> str | None:
        """What to say of a process with other values than this one."""
        names = [name for name in {**self._values, **there} if self._values.get(name) != there.get(name)]
        if not names:
            return None
        words = ", ".join(f"{name} ({there.get(name)} there, {self._values.get(name)} here)" for name in names)
        return f"process {process} differs from process 0 in {words}: all must be given the same."

    def _heard(self, process: int, words: Words) -> None:
        if "failed" in words:
            self._leave(text := str(words["failed"]), text, int(words["code"]))
        elif "signal" in words:
            self._signals.append(int(words["signal"]))
        elif "values" in words:
            with self._news:
                self._told[process] = dict(words["values"])
                self._news.notify_all()

    def _lost(self, process: int) -> None:
        if not self._over:
            text = f"process {process} of {self.place.count} has ended, or cannot be reached. {GO_ON}"
            self._leave(text, text, GONE)

    def _tell(self, text: str, code: int) -> None:
        for line in self._lines.values():
            line.say(failed=text, code=code)
        for line in self._lines.values():
            line.close(FAREWELL)

    def check_same(self, values: Words) -> None:  # noqa: D102
        self._await(self._told)
        self._values = json.loads(json.dumps(values))
        for process, there in self._told.items():
            if text := self._differing(process, there):
                raise UserError(text)

    def stops(self, received: list[int]) -> bool:  # noqa: D102
        number = (*received, *self._signals, 0)[0]
        received[:] = [number] if number else []
        for line in self._lines.values():
            line.say(stop=number)
        return bool(number)

    def end(self) -> None:  # noqa: D102
        self._over = True
        for line in self._lines.values():
            line.say(end=True)
        self._shut_down()


class Follower(Job):
    """Any other process, with a line to the leader, that does as it is told."""

    def __init__(self, place: Place, values: Words) -> None:
        """Waits until all others are there. Raises `UserError` if the leader is not, or was given other values."""
        super().__init__(place)
        hello = {"process": place.process, "of": place.count, "values": values}
        connection, answer = links.connect(place.address, hello, WAIT)
        if "welcome" not in answer:
            raise UserError(str(answer.get("refused", "")))
        self._said: queue.SimpleQueue[Words] = queue.SimpleQueue()
        self._line = Line(connection, self._heard, self._lost)
        self._said.get()
        self._port = links.shield(place.address)

    def _heard(self, words: Words) -> None:
        if "failed" in words:
            self._leave(str(words["failed"]), None, int(words["code"]))
        self._over = self._over or "end" in words
        self._said.put(words)

    def _lost(self) -> None:
        if not self._over:
            text = f"process 0 of {self.place.count} has ended, or cannot be reached. {GO_ON}"
            self._leave(text, None, GONE)

    def _tell(self, text: str, code: int) -> None:
        self._line.say(failed=text, code=code)
        self._line.close(FAREWELL)

    def check_same(self, values: Words) -> None:  # noqa: D102
        self._line.say(values=values)

    def signalled(self, number: int) -> None:  # noqa: D102
        self._line.say(signal=number)

    def stops(self, received: list[int]) -> bool:  # noqa: D102
        number = self._said.get()["stop"]
        received[:] = [number] if number else []
        return bool(number)

    def end(self) -> None:  # noqa: D102
        self._said.get()
        self._shut_down()


@contextlib.contextmanager
def joined(place: Place | None, values: Words) -> Iterator[Job | None]:
    """Take part in a run as the process at `place`; None, and nothing done, where there is but one.

    `values` are those that must be the same in all. An error inside ends every process, this one with its exit code.
    Raises `UserError` if the processes do not find one another.
    """
    if place is None:
        yield None
        return
    job = Follower(place, values) if place.process else Leader(place, values)
    try:
        job.initialize()
        yield job
        job.end()
    except Stopped as stopped:
        job.end()
        if job.leads:
            raise
        raise SystemExit(stopped.exit_code) from None  # one process says so
    except Exception as error:
        job.explain(error)


def shared(content: bytes | None) -> bytes | None:
    """The bytes that process 0 has, in every process; called by all, with whatever."""
    leads = jax.process_index() == 0
    size = np.int64(-1 if content is None else len(content))
    there: Any = multihost_utils.broadcast_one_to_all(np.frombuffer(size.tobytes(), np.uint8))
    length = int(np.frombuffer(there.tobytes(), np.int64)[0])
    if length < 0:
        return None
    own = np.frombuffer(content, np.uint8) if leads and content else np.zeros(length, np.uint8)
    found: Any = multihost_utils.broadcast_one_to_all(own)
    return bytes(found.tobytes())
