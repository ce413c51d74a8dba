"""The one exception for what a user can mend: bad input, a damaged file, a missing checkpoint.

Every command catches it and prints its message on one line with exit code 2, without a traceback.
"""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """What was wrong, what is allowed and what to do, in one line."""


def unknown(kind: str, name: object, allowed: Iterable[str]) -> UserError:
    """The error for a name that is in no registry; it suggests the nearest one that is."""
    names = list(allowed)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return UserError(f"unknown {kind} '{name}'.{hint} Allowed: {', '.join(names)}.")
