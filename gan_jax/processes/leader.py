"""Process 0 of a run: it waits for the others, decides for all after each chunk, and misses whoever falls silent."""

import json
import socket
import threading
from typing import Any

from gan_jax.errors import UserError
from gan_jax.processes import links, tunnel
from gan_jax.processes.job import FAREWELL, GO_ON, GONE, WAIT, Job
from gan_jax.processes.links import Line, Words
from gan_jax.processes.place import Place


class Leader(Job):
    """Process 0, to which the others hold a line each."""

    def __init__(self, place: Place, values: Words) -> None:
        """Waits until all others are there, with the same values. Raises `UserError` if they are not."""
        super().__init__(place)
        self._port = tunnel.free_port()
        self._values: Words = json.loads(json.dumps(values))
        self._lines: dict[int, Line] = {}
        self._told: dict[int, Words] = {}
        self._refusal: str | None = None
        self._signals: list[int] = []
        self._news = threading.Condition()
        links.serve(place.address, self._greet)
        self._await(self._lines, WAIT)
        for line in self._lines.values():
            line.say(go=True)

    def _await(self, arrived: dict[int, Any], seconds: float | None = None) -> None:
        others = range(1, self.place.num)
        with self._news:
            self._news.wait_for(lambda: self._refusal or len(arrived) == len(others), seconds)
        if self._refusal is None and (missing := [i for i in others if i not in arrived]):
            named = f"process {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else "")
            self._refusal = (
                f"{named} of {self.place.num} did not come within {seconds:g} s: start all of them."
            )
        if self._refusal is not None:
            self._tell(self._refusal, 2)
            raise UserError(self._refusal)

    def _greet(self, connection: socket.socket, hello: Words) -> bool:
        """Take a process in, or tell it why not; or lead it to JAX. Returns whether the connection is kept."""
        if "jax" in hello:
            tunnel.lead_to(self._port, connection)
            return False
        process, count, values = hello["process"], hello["of"], dict(hello["values"])
        if not isinstance(process, int) or not isinstance(count, int):
            raise ValueError("somebody else")
        refused: str | None
        with self._news:
            if len(self._lines) == self.place.num - 1:
                refused = f"the run at this --coordinator has all of its {self.place.num} processes already."
            elif process in self._lines:
                refused = f"there is a --process_id={process} already: give each process a number of its own."
            elif count != self.place.num or process not in range(1, count):
                refused = f"process {process} has --num_processes={count}, and process 0 {self.place.num}."
                self._refusal = refused
            else:
                refused = self._refusal = self._differing(process, values)
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
        words = ", ".join(
            f"{name} ({there.get(name)} there, {self._values.get(name)} here)" for name in names
        )
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
            text = f"process {process} of {self.place.num} has ended, or cannot be reached. {GO_ON}"
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
