"""Connections between the processes of a run, over process 0's one port: words, as lines of JSON.

A process that ends, however it does, closes its connection: the other side hears so at once. One whose machine has
stopped is found by its silence. What comes in is treated as input that may be wrong: JSON of a bounded length.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from gan_jax.errors import UserError

BEAT = 5.0  # seconds between signs of life
SILENCE = 40.0  # seconds without one after which the other side counts as lost
LONGEST = 1 << 20  # bytes of a line

_WRONG = (OSError, ValueError, TypeError, KeyError)  # what hearing something else than expected ends in

Address = tuple[str, int]
Words = dict[str, Any]


class Line:
    """A connection on which both sides speak; `heard` is called with what is said, on a thread of its own.

    `lost` is called once nothing can be heard any more.
    """

    def __init__(
        self, connection: socket.socket, heard: Callable[[Words], object], lost: Callable[[], object]
    ) -> None:
        """Takes the connection over."""
        connection.settimeout(SILENCE)
        self._connection, self._heard, self._lost = connection, heard, lost
        self._speaking, self._closed = threading.Lock(), threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        threading.Thread(target=self._beat, daemon=True).start()

    def say(self, **words: Any) -> None:
        """Say something. Nothing is raised where nobody listens: that is heard of by `lost`."""
        with self._speaking, contextlib.suppress(OSError):
            self._connection.sendall(json.dumps(words).encode() + b"\n")

    def close(self, seconds: float) -> None:
        """Say no more, and wait until the other side has closed, too; for so long at most."""
        self._closed.set()
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)
        if threading.current_thread() is not self._listener:
            self._listener.join(seconds)

    def _beat(self) -> None:
        while not self._closed.wait(BEAT):
            self.say()

    def _listen(self) -> None:
        with contextlib.suppress(*_WRONG), self._connection.makefile("rb") as file:
            while (line := file.readline(LONGEST)).endswith(b"\n"):
                if words := _words(line):
                    self._heard(words)
        self._closed.set()
        self._lost()
        self._connection.close()


def _words(line: bytes) -> Words:
    """What a line says. Raises ValueError for what nobody here says."""
    try:
        words = json.loads(line)
    except RecursionError as error:
        raise ValueError("too deep") from error
    if not isinstance(words, dict):
        raise ValueError("no object")
    return words


def serve(address: Address, greet: Callable[[socket.socket, Words], bool]) -> None:
    """Listen at the address; `greet` is given each connection with its first words, on a thread of its own.

    It says whether it keeps the connection, which is closed otherwise. Raises `UserError` if nobody can listen there.
    """
    server = _listening(address)

    def greeted(connection: socket.socket) -> None:
        kept = False
        with contextlib.suppress(*_WRONG):
            connection.settimeout(SILENCE)
            kept = greet(connection, _first_words(connection))
        if not kept:
            connection.close()

    def accept() -> None:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=greeted, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def _listening(address: Address) -> socket.socket:
    try:
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise _not_served(address, error.strerror) from error
    reason = ""
    for family, _, _, _, place in found:
        # An address that is not this machine's own, such as a gateway's, may still lead here: then listen on all.
        for here in (place, ("", *place[1:])):
            try:
                return socket.create_server(here, family=family, backlog=1024)
            except OSError as error:
                reason = os.strerror(error.errno or 0)  # without what Python adds
    raise _not_served(address, reason)


def _not_served(address: Address, reason: str | None) -> UserError:
    return UserError(
        f"--coordinator={written(address)} cannot be served ({reason}): give an address of this machine, process 0's, "
        "and a port that is free."
    )


def connect(address: Address, hello: Words, seconds: float) -> tuple[socket.socket, Words]:
    """A connection to process 0, with its answer to the hello; it is tried for so long.

    Raises `UserError` if nobody is there, or somebody else.
    """
    begin = time.monotonic()
    while True:
        try:
            connection = socket.create_connection(address, timeout=SILENCE)
            if connection.getsockname() != connection.getpeername():
                break
            connection.close()  # a connection to itself, which TCP makes by chance where nobody listens
        except OSError as error:
            if time.monotonic() - begin > seconds:
                raise UserError(
                    f"nobody has answered at --coordinator={written(address)} for {seconds:g} s "
                    f"({error.strerror or error}): start process 0 there, with the same flag."
                ) from error
        time.sleep(0.2)
    try:
        connection.sendall(json.dumps(hello).encode() + b"\n")
        return connection, _first_words(connection)
    except (OSError, ValueError) as error:
        connection.close()
        raise UserError(
            f"what answers at --coordinator={written(address)} is no process 0 of gan_jax.train: give its address."
        ) from error


def _first_words(connection: socket.socket) -> Words:
    with connection.makefile("rb", buffering=0) as file:  # unbuffered: what follows may be no line
        line = file.readline(LONGEST)
    if not line.endswith(b"\n"):
        raise ValueError("no line")
    return _words(line)


def written(address: Address) -> str:
    """HOST:PORT."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
