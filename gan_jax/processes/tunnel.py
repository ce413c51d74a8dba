"""JAX's own traffic between the processes of a run, led through process 0's one port."""

import contextlib
import socket
import threading
import time

from gan_jax.errors import UserError
from gan_jax.processes.links import SILENCE, Address, connect


def lead_to(port: int, connection: socket.socket) -> None:
    """Join a connection with this machine's port `port`, once something listens there."""
    begin = time.monotonic()
    while True:
        try:
            other = socket.create_connection(("127.0.0.1", port))
            break
        except OSError:
            if time.monotonic() - begin > SILENCE:
                raise
        time.sleep(0.05)
    connection.sendall(b"{}\n")
    _join(connection, other)


def shield(address: Address) -> int:
    """A port of this machine that leads to process 0's JAX, and stays open when that ends.

    JAX would end this process with a page of C++ the moment that it sees process 0's connection close.
    """
    server = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            inner, _ = server.accept()
            threading.Thread(target=led, args=(inner,), daemon=True).start()

    def led(inner: socket.socket) -> None:
        with inner, contextlib.suppress(UserError):
            outer, _ = connect(address, {"jax": True}, SILENCE)
            _join(inner, outer, hold=True)

    threading.Thread(target=accept, daemon=True).start()
    return int(server.getsockname()[1])


def _join(one: socket.socket, other: socket.socket, *, hold: bool = False) -> None:
    """Pass on what comes from either to the other, until both have ended. With `hold`, `one` does not see `other` end.
    """  # fmt: skip

    def pump(source: socket.socket, sink: socket.socket, closes: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        if closes:
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_WR)

    one.settimeout(None)
    other.settimeout(None)
    back = threading.Thread(target=pump, args=(other, one, not hold), daemon=True)
    back.start()
    with other:
        pump(one, other, True)
        back.join()


def free_port() -> int:
    """A port of this machine that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
