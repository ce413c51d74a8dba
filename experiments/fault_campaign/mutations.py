"""Random mutations of a file's content, which a seed repeats."""

import contextlib
import json
import random
from typing import Any

VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**63,
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "\ud800",
    "²",
)
VALUES += ("../../x", [], {}, [[[[]]]], "x" * 5000, {"a": {"b": [1]}}, [None], 0.5, "--", "%s", "\n", "\0")
TOKENS = (
    b"",
    b"\0" * 8,
    b"\xff" * 8,
    b"[" * 500,
    b"{" * 500,
    b"(" * 500,
    b"9" * 30,
    b"-",
    b"NaN",
    b"\n",
    b"PK\x05\x06",
)


def mutated(content: bytes, rng: random.Random) -> bytes:
    """The content with a few of: flipped bits, cuts, doubled and exchanged parts, odd tokens, odd values in JSON."""
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        data, at = bytearray(content), rng.randrange(len(content) + 1)
        size = min(rng.choice((1, 2, 8, 64, 1000)), len(content) - at)
        kind = rng.choice(("flip", "flip", "cut", "cut out", "double", "token", "random", "json", "json"))
        if kind == "flip" and size:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == "cut":
            del data[at:]
        elif kind == "cut out":
            del data[at : at + size]
        elif kind == "double":
            data[at:at] = data[at : at + size]
        elif kind == "token":
            data[at : at + rng.choice((0, size))] = rng.choice(TOKENS)
        elif kind == "random":
            data[at : at + size] = rng.randbytes(size)
        elif kind == "json":
            data = bytearray(_odd_value(content, rng))
        content = bytes(data)
    return content


def _odd_value(content: bytes, rng: random.Random) -> bytes:
    """JSON, or lines of it, with a value exchanged, added or taken out."""
    lines = content.splitlines() if content.count(b"\n{") > 1 else [content]
    i = rng.randrange(len(lines) or 1)
    try:
        found = json.loads(lines[i])
    except (ValueError, IndexError, RecursionError):
        return content
    place = found
    while isinstance(place, dict | list) and place:
        keys: list[Any] = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = rng.choice(keys)
        if rng.random() < 0.5 or not isinstance(place[key], dict | list) or not place[key]:
            if rng.random() < 0.15:
                del place[key]
            else:
                place[key] = rng.choice(VALUES)
            break
        place = place[key]
    with contextlib.suppress(ValueError):  # 10**400 is too long to write for some Pythons
        lines[i] = json.dumps(found).encode()
    return b"\n".join(lines)
