"""The page on which people judge images: a small Flask application, served to this machine only.

    GET  /, /rater/TOKEN          the page; its script asks for the rest
    POST /raters                  a name -> the rater's token, the same one for the same name
    GET  /rater/TOKEN/state       what to judge now, or the result
    GET  /image/TOKEN             an image, as PNG
    POST /answers                 a judgement -> the next state

Blindness: what a rater's browser receives is random tokens in random order and images. Truth and index stay
here. Every PNG is written by the same call, uncompressed, so that not even its length differs; and before the first
request, so that neither does the time that it takes to come.
"""

import io
import socket
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
from flask import Flask, Response, abort, jsonify, request
from PIL import Image
from werkzeug.exceptions import HTTPException
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from gan_jax import report
from gan_jax.errors import UserError
from gan_jax.human_eval import shares
from gan_jax.human_eval.answers import Answers, Card, Conditions, Deal, Tally
from gan_jax.human_eval.shares import Share

ASSETS = Path(__file__).parent.parent / "assets" / "human_eval"
GRID = 16  # images on a page of the grid
NAME_LENGTH = 40
LONGEST_MS = 1e9  # milliseconds of a response: eleven days
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Images = dict[str, np.ndarray]


def png(image: np.ndarray) -> bytes:
    """A uint8 image [H, W, 1 or 3] as an uncompressed PNG without metadata."""
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG", compress_level=0)
    return file.getvalue()


def make_app(answers: Answers, conditions: Conditions, images: Images, deal: Deal) -> Flask:
    """The application for one session; `images` are those of "real" and "fake", `deal` a rater's deck."""
    app = Flask(__name__, static_folder=None)
    # Without this any web site could have its name resolve to 127.0.0.1 and read the page (DNS rebinding).
    app.config.update(TRUSTED_HOSTS=["127.0.0.1", "localhost"], MAX_CONTENT_LENGTH=4096)
    session = answers.session(conditions)
    pngs = {truth: [png(image) for image in found] for truth, found in images.items()}
    assets = {kind: (ASSETS / f"page.{kind}").read_bytes() for kind in ("html", "css", "js")}

    @app.get("/")
    @app.get("/rater/<rater>")
    def page(rater: str | None = None) -> Response:
        return Response(assets["html"], mimetype="text/html")

    @app.get("/page.<any(css, js):kind>")
    def asset(kind: str) -> Response:
        return Response(assets[kind], mimetype={"css": "text/css", "js": "text/javascript"}[kind])

    @app.post("/raters")
    def join() -> Response:
        name = _field("name", str)
        name = " ".join("".join(c for c in name if c.isprintable()).split())
        if not 1 <= len(name) <= NAME_LENGTH:
            abort(400, f"Give a name of 1 to {NAME_LENGTH} characters.")
        return jsonify(rater=answers.rater(session, name, deal))

    @app.get("/rater/<rater>/state")
    def state(rater: str) -> Response:
        if (name := answers.name(session, rater)) is None:
            abort(404, "This link is of another session.")
        return jsonify(_state(conditions, name, answers.cards(rater), answers.tallies(session)))

    @app.get("/image/<card>")
    def image(card: str) -> Response:
        if (found := answers.card(session, card)) is None:
            abort(404, "There is no such image here.")
        # Under a time limit a reload must not buy a second look; HEAD, which Flask answers by this too, shows nothing.
        if conditions.seconds and request.method != "HEAD" and not answers.show(card):
            abort(410, "This image was already shown.")
        return Response(pngs[found.truth][found.image], mimetype="image/png")

    @app.post("/answers")
    def judge() -> Response:
        token, answer, elapsed = _field("card", str), _field("answer", str), _field("response_ms", float)
        if (card := answers.card(session, token)) is None:
            abort(404, "There is no such image here.")
        if answer not in ("real", "fake"):
            abort(400, "An answer is real or fake.")
        if elapsed is not None and not 0 <= elapsed <= LONGEST_MS:
            abort(400, "A response time is a number of milliseconds.")
        answers.judge(token, answer, elapsed)
        return state(card.rater)

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> tuple[Response, int]:
        return jsonify(error=error.description), error.code or 500

    @app.errorhandler(sqlite3.Error)
    def unsaved(error: sqlite3.Error) -> tuple[Response, int]:
        report.warn(f"an answer could not be saved or read ({error}); the page keeps trying")
        return jsonify(error=f"The server cannot save answers ({error})."), 503

    @app.after_request
    def harden(response: Response) -> Response:
        response.headers.update(HEADERS)
        return response

    return app


def _field(name: str, kind: type) -> Any:
    """A field of the request's JSON; None stands for a missing float.

    Only JSON: a form, which any web site could have a browser send here, is refused with 415.
    """
    try:
        body = request.get_json()
    except RecursionError:
        abort(400, "This is nested too deeply.")
    value = body.get(name) if isinstance(body, dict) else None
    if kind is float and (value is None or (isinstance(value, int | float) and not isinstance(value, bool))):
        return value
    if not isinstance(value, kind):
        abort(400, f"The field {name} is missing.")
    if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        abort(400, f"The field {name} is no text.")  # half a character, which no database keeps
    return value


def _state(conditions: Conditions, name: str, cards: list[Card], tallies: list[Tally]) -> dict[str, Any]:
    """All that the page shows: this rater's progress and the cards to judge now, or at the end the result."""
    at_once = GRID if conditions.grid else 1
    open_positions = [i for i, card in enumerate(cards) if card.answer is None]
    first = open_positions[0] // at_once * at_once if open_positions else len(cards)
    now = cards[first : first + at_once]
    return {
        "name": name,
        "num": len(cards),
        "judged": len(cards) - len(open_positions),
        "grid": conditions.grid,
        "seconds": conditions.seconds,
        "page": [{"card": card.card, "answer": card.answer} for card in now],
        "result": None if open_positions else _result(name, tallies),
    }


def _result(name: str, tallies: list[Tally]) -> dict[str, Any]:
    mine = shares.shares([tally for tally in tallies if tally.name == name])
    together = shares.shares(tallies)
    notes = [shares.caution(found) for found in (mine, together)]
    return {
        "raters": len(tallies),
        "mine": {key: _share(found) for key, found in mine._asdict().items()},
        "together": {key: _share(found) for key, found in together._asdict().items()},
        "caution": next(filter(None, notes), None),
    }


def _share(found: Share) -> dict[str, Any]:
    words = f"{found.wrong / found.asked:.1%} ({found.wrong} of {found.asked}), "
    words += f"95% interval {found.low:.1%} to {found.high:.1%}"
    return {"share": found.wrong / found.asked, **found._asdict(), "words": words}


class _Quiet(WSGIRequestHandler):
    """Logs no requests: their tokens and times are nobody's business, and the terminal is for the result."""

    def log(self, type: str, message: str, *args: Any) -> None:
        pass


def listen(port: int) -> socket.socket:
    """A socket on this machine's own address; 0 takes a free port. Raises `UserError` if the port is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # at once again after a crash
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise UserError(
            f"--port={port} cannot be used ({error.strerror}): give another, or 0 for any free one."
        ) from error
    return listener


def make(listener: socket.socket, app: Flask) -> BaseWSGIServer:
    """The server: a thread for each request. Werkzeug's own, which is enough for a few people on one machine."""
    host, port = listener.getsockname()
    return make_server(host, port, app, threaded=True, request_handler=_Quiet, fd=listener.fileno())
