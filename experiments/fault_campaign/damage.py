"""Harm to files: flipped bits, and whatever else disks, people and other programs do to them."""

import os
import random
import shutil
from pathlib import Path

KINDS = ("flipped bit", "truncated", "deleted", "zeros", "swapped", "alien", "a folder instead")
ALIEN = (
    b"",
    b"\n",
    b"{}",
    b"[]",
    b"null",
    b'"x"',
    b"[" * 100_000,
    b"\xff\xfe\x00",
    b"PK\x03\x04",
    b"\x89PNG\r\n\x1a\n",
)


def files(folder: Path) -> list[Path]:
    """All that may be harmed."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ".lock")


def harm(folder: Path, kind: str, rng: random.Random) -> str:
    """Does it to one file below the folder; returns which. Small files are as likely as large ones."""
    names = sorted({p.suffix or p.name for p in files(folder)})
    name = rng.choice(names)
    path = rng.choice([p for p in files(folder) if (p.suffix or p.name) == name])
    content = bytearray(path.read_bytes())
    if kind == "flipped bit" and content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
    elif kind == "truncated":
        path.write_bytes(content[: rng.randrange(len(content) or 1)])
    elif kind == "deleted":
        path.unlink()
    elif kind == "zeros":
        path.write_bytes(bytes(len(content)))
    elif kind == "swapped":
        other = rng.choice(files(folder))
        shutil.copy(other, folder / ".swap")
        path.replace(other)
        os.replace(folder / ".swap", path)
    elif kind == "alien":
        path.write_bytes(rng.choice(ALIEN))
    elif kind == "a folder instead":
        path.unlink()
        path.mkdir()
    return str(path.relative_to(folder))
