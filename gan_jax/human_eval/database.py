"""The SQLite file of raters' answers: its tables, and whether a file is one.

    sessions   conditions under which images are judged: nothing is ever mixed between two of them
    raters     a person in a session
    cards      an image dealt to a rater, in order, and its answer once there is one
    answers    a view of the judged cards, with all that is known of each: the table to read

SQLite's rollback journal rather than its write-ahead log: the database stays one file to copy.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from gan_jax.errors import UserError

_APPLICATION = 0x47414E4A  # "GANJ" in the file's header: what says that a database is ours
_VERSION = 1

_SCHEMA = """
CREATE TABLE sessions (
  session INTEGER PRIMARY KEY, dataset TEXT NOT NULL, split TEXT NOT NULL, step INTEGER NOT NULL,
  generator TEXT NOT NULL, seed INTEGER NOT NULL, num INTEGER NOT NULL, grid INTEGER NOT NULL, seconds REAL NOT NULL,
  UNIQUE (dataset, split, step, generator, seed, num, grid, seconds));
CREATE TABLE raters (
  rater TEXT PRIMARY KEY, session INTEGER NOT NULL REFERENCES sessions, name TEXT NOT NULL, folded TEXT NOT NULL,
  UNIQUE (session, folded));
CREATE TABLE cards (
  card TEXT PRIMARY KEY, rater TEXT NOT NULL REFERENCES raters, position INTEGER NOT NULL,
  truth TEXT NOT NULL CHECK (truth IN ('real', 'fake')), image INTEGER NOT NULL CHECK (image >= 0),
  shown INTEGER NOT NULL DEFAULT 0, answer TEXT CHECK (answer IN ('real', 'fake')), answered_at TEXT,
  response_ms REAL, UNIQUE (rater, position), UNIQUE (rater, truth, image));
CREATE VIEW answers AS
  SELECT session, dataset, split, step, generator, seed, name AS rater, position, image, truth, answer, answered_at,
         response_ms
  FROM cards JOIN raters USING (rater) JOIN sessions USING (session) WHERE answer IS NOT NULL;
"""


@contextlib.contextmanager
def connect(path: Path, mode: str = "rw") -> Iterator[sqlite3.Connection]:
    """A connection, for one use: they are cheap, and threads cannot share one. `mode` "rwc" makes the file."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = EXTRA")  # also syncs the folder after the journal is deleted
        db.execute("PRAGMA foreign_keys = ON")
        yield db


def check_database(path: Path, *, create: bool) -> None:
    """Make the database if `create` and it is not there.

    Raises:
      UserError: if it is damaged, not ours, or cannot be had.
    """
    try:
        with connect(path, "rwc" if create else "rw") as db, db:
            if create:
                db.execute("BEGIN IMMEDIATE")
                _prepare(db)
            found = db.execute("PRAGMA application_id").fetchone()[0]
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if (found, version) != (_APPLICATION, _VERSION):
                raise UserError(
                    f"{path} is a database, but not one of this gan_jax.human_eval: move it away."
                )
            if (verdict := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(" ".join(verdict.split()))
    except sqlite3.OperationalError as error:
        raise UserError(
            f"{path} cannot be used ({error}): it must lie in a folder that can be written to."
        ) from error
    except sqlite3.DatabaseError as error:
        raise UserError(
            f"{path} is damaged ({error}): put back a copy, or move it away to start anew."
        ) from error


def _prepare(db: sqlite3.Connection) -> None:
    """Makes the tables in a new, empty database."""
    if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        for statement in _SCHEMA.split(";\n"):
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {_APPLICATION}")
        db.execute(f"PRAGMA user_version = {_VERSION}")
