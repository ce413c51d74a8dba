"""A server of one page, to this machine only."""

import contextlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from gan_jax.errors import UserError

HOSTS = ("127.0.0.1", "localhost")


@contextlib.contextmanager
def serving(port: int, make: Callable[[], str]) -> Iterator[ThreadingHTTPServer]:
    """A server of the page that `make` makes, once its port is known to be free; 0 takes a free one.

    Raises `UserError` if the port is taken.
    """
    content = b""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # Without a look at the host, any web site could have its name resolve to 127.0.0.1 and read the page.
            known = (self.headers.get("Host") or "").rsplit(":", 1)[0] in HOSTS
            found = content if known and self.path == "/" else b""
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(found)))
            self.send_header("Cache-Control", "no-store")
            with contextlib.suppress(ConnectionError):  # a browser may drop the download
                self.end_headers()
                self.wfile.write(found)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: the terminal is for the page's address."""

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise UserError(
            f"--port={port} cannot be used ({error.strerror}): give another, or 0 for any free one."
        ) from error
    with server:
        content = make().encode()
        yield server
