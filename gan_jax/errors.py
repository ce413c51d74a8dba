"""The exceptions for what a user can mend (`UserError`), and for a run whose numbers stop being finite.

Every command catches them and prints their message on one line, without a traceback.
"""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """What was wrong, what is allowed and what to do, in one line. Commands end with exit code 2.

    What a file or an argument put into the message cannot break the line, nor speak to the terminal.
    """

    def __init__(self, message: str) -> None:
        """Escapes what is not printable."""
        super().__init__(printable(message))


def printable(text: str) -> str:
    """The text with what is not printable escaped."""
    escape = lambda char: char.encode("unicode_escape", "surrogatepass").decode("ascii")
    return "".join(char if char.isprintable() else escape(char) for char in text)


class InUse(UserError):
    """Another process holds the folder."""


class Diverged(Exception):
    """The run met a number that is not finite; the message says at which step, and which. Exit code 1."""


class Lost(Exception):
    """A run is done, but files of it are lost that cannot be made again; the message says which. Exit code 3."""


def unknown(kind: str, name: object, allowed: Iterable[str], hint: str | None = None) -> UserError:
    """The error for a name that is in no registry; it gives the hint, or suggests the nearest name that is."""
    names = list(allowed)
    near = nearest(str(name), names)
    hint = hint or (f"Did you mean '{near}'?" if near else None)
    return UserError(f"unknown {kind} '{name}'.{f' {hint}' if hint else ''} Allowed: {', '.join(names)}.")


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that was probably meant, whatever the case of its letters; None if none is near."""
    folded = {other.casefold().replace("-", "_"): other for other in names}
    found = difflib.get_close_matches(name.casefold().replace("-", "_"), folded, n=1, cutoff=0.65)
    return folded[found[0]] if found else None
