"""Every process of a run but the first: it has a line to process 0, and does as it is told."""

import queue

from gan_jax.errors import UserError
from gan_jax.processes import links, tunnel
from gan_jax.processes.job import FAREWELL, GO_ON, GONE, WAIT, Job
from gan_jax.processes.links import Line, Words
from gan_jax.processes.place import Place


class Follower(Job):
    """Any other process, with a line to the leader, that does as it is told."""

    def __init__(self, place: Place, values: Words) -> None:
        """Waits until all others are there. Raises `UserError` if the leader is not, or was given other values."""
        super().__init__(place)
        hello = {"process": place.process, "of": place.num, "values": values}
        connection, answer = links.connect(place.address, hello, WAIT)
        if "welcome" not in answer:
            connection.close()
            raise UserError(str(answer.get("refused", "")))
        self._said: queue.SimpleQueue[Words] = queue.SimpleQueue()
        self._line = Line(connection, self._heard, self._lost)
        self._said.get()
        self._port = tunnel.shield(place.address)

    def _heard(self, words: Words) -> None:
        if "failed" in words:
            self._leave(str(words["failed"]), None, int(words["code"]))
        self._over = self._over or "end" in words
        self._said.put(words)

    def _lost(self) -> None:
        if not self._over:
            text = f"process 0 of {self.place.num} has ended, or cannot be reached. {GO_ON}"
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
