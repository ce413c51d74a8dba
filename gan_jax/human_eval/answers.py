"""The answers of human raters, in one SQLite file, and what they add up to.

A commit is on the disk before the rater's page hears of it, so neither a killed server nor a power cut loses
an answer.
"""

import contextlib
import dataclasses
import datetime
import secrets
import sqlite3
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from gan_jax.human_eval import database

# What a rater is shown, given how many raters there were before: (truth, image) in order.
Deal = Callable[[int], list[tuple[str, int]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conditions:
    """What a session is. Answers given under different ones say different things.

    step, generator: the checkpoint, and the SHA-256 of the parameters that drew its images (another training run
    in the same folder may reach the same step). seed: of the latents and of what is dealt. num: images per rater.
    seconds: how long an image is shown, 0 for as long as one likes.
    """

    dataset: str
    split: str
    step: int
    generator: str
    seed: int
    num: int
    grid: bool
    seconds: float


class Card(NamedTuple):
    """An image dealt to a rater; `answer` is None until it is judged. The page sees no `truth` and no `image`."""

    card: str
    rater: str
    truth: str
    image: int
    shown: bool
    answer: str | None


class Tally(NamedTuple):
    """One rater's answers, as counts: of the fakes judged so many taken for real, and the other way round."""

    name: str
    fakes: int
    fakes_judged_real: int
    reals: int
    reals_judged_fake: int


class Answers:
    """The database in `path`. Safe to use from several threads, and processes, at once.

    A `sqlite3.Error` later on means that the disk is full or the file was taken away.
    """

    def __init__(self, path: Path, *, create: bool) -> None:
        """Opens it, making it if `create`. Raises `UserError` if it is damaged or not ours, or can't be had."""
        self._path = path
        database.check_database(path, create=create)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with database.connect(self._path) as db, db:  # the connection commits at the end, or rolls back
            db.execute("BEGIN IMMEDIATE")
            yield db

    def session(self, conditions: Conditions) -> int:
        """The session of these conditions, begun if there is none yet."""
        names, values = zip(*dataclasses.asdict(conditions).items(), strict=True)
        with self._transaction() as db:
            columns, marks = ", ".join(names), ", ".join("?" * len(names))
            db.execute(f"INSERT OR IGNORE INTO sessions ({columns}) VALUES ({marks})", values)
            same = " AND ".join(f"{name} = ?" for name in names)
            return int(db.execute(f"SELECT session FROM sessions WHERE {same}", values).fetchone()[0])

    def sessions(self) -> dict[int, Conditions]:
        """All sessions, oldest first."""
        names = [field.name for field in dataclasses.fields(Conditions)]
        with database.connect(self._path) as db:
            rows = db.execute(f"SELECT session, {', '.join(names)} FROM sessions ORDER BY session").fetchall()
        found = {row[0]: Conditions(**dict(zip(names, row[1:], strict=True))) for row in rows}
        return {key: dataclasses.replace(value, grid=bool(value.grid)) for key, value in found.items()}

    def rater(self, session: int, name: str, deal: Deal) -> str:
        """The token of the rater of this name; a new one is dealt `deal(number of raters before)`.

        Upper and lower case are one, so that who comes back after a crash goes on where they were.
        """
        folded = unicodedata.normalize("NFKC", name).casefold()
        with self._transaction() as db:
            find = "SELECT rater FROM raters WHERE session = ? AND folded = ?"
            if (row := db.execute(find, (session, folded)).fetchone()) is not None:
                return str(row[0])
            before = db.execute("SELECT count(*) FROM raters WHERE session = ?", (session,)).fetchone()[0]
            rater = secrets.token_urlsafe(16)
            db.execute("INSERT INTO raters VALUES (?, ?, ?, ?)", (rater, session, name, folded))
            db.executemany(
                "INSERT INTO cards (card, rater, position, truth, image) VALUES (?, ?, ?, ?, ?)",
                ((secrets.token_urlsafe(16), rater, i, *dealt) for i, dealt in enumerate(deal(before))),
            )
        return rater

    def name(self, session: int, rater: str) -> str | None:
        """The name of a rater of this session; None for anyone else's token."""
        with database.connect(self._path) as db:
            row = db.execute("SELECT name FROM raters WHERE session = ? AND rater = ?", (session, rater))
            return next((str(name) for (name,) in row), None)

    def cards(self, rater: str) -> list[Card]:
        """A rater's cards in order."""
        return self._cards("rater = ? ORDER BY position", rater)

    def card(self, session: int, card: str) -> Card | None:
        """The card of this token; None for a token of another session, or of none."""
        ours = "rater IN (SELECT rater FROM raters WHERE session = ?)"
        return next(iter(self._cards(f"card = ? AND {ours}", card, session)), None)

    def _cards(self, where: str, *values: object) -> list[Card]:
        with database.connect(self._path) as db:
            rows = db.execute(f"SELECT {', '.join(Card._fields)} FROM cards WHERE {where}", values).fetchall()
        return [Card(*row)._replace(shown=bool(row[4])) for row in rows]

    def show(self, card: str) -> bool:
        """Note that the image was shown; False if it had been already."""
        with self._transaction() as db:
            return (
                db.execute("UPDATE cards SET shown = 1 WHERE card = ? AND NOT shown", (card,)).rowcount == 1
            )

    def judge(self, card: str, answer: str, response_ms: float | None) -> None:
        """Keep an answer. The first one stays: a second, from another tab or a retry, changes nothing."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        with self._transaction() as db:
            db.execute(
                "UPDATE cards SET answer = ?, answered_at = ?, response_ms = ? WHERE card = ? AND answer IS NULL",
                (answer, now, response_ms, card),
            )

    def tallies(self, session: int) -> list[Tally]:
        """The counts of each rater who has answered anything, in the order they began."""
        with database.connect(self._path) as db:
            rows = db.execute(
                "SELECT name, sum(truth = 'fake'), sum(truth = 'fake' AND answer = 'real'), sum(truth = 'real'), "
                "sum(truth = 'real' AND answer = 'fake') FROM cards JOIN raters USING (rater) "
                "WHERE session = ? AND answer IS NOT NULL GROUP BY rater ORDER BY raters.rowid",
                (session,),
            ).fetchall()
        return [Tally(*row) for row in rows]
