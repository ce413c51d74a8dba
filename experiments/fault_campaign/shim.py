"""The shim: built and preloaded, armed from Python, and what it records replayed as what a kill would have left."""

import ctypes
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import NamedTuple

KINDS = {"none": 0, "kill": 1, "full": 2, "eio": 3, "signal": 4, "clock": 5, "record": 6}
SOURCE = Path(__file__).with_name("shim.c")


class Operation(NamedTuple):
    """What was done to a file: created C, truncated T, written W, renamed R, unlinked U, rmdir D, mkdir M, length L."""

    op: str
    path: str
    data: bytes
    offset: int


def build(folder: Path) -> Path:
    """The compiled shim. Raises CalledProcessError or FileNotFoundError without a C compiler."""
    target = folder / "shim.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(target), str(SOURCE), "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    return target


def preloaded() -> bool:
    """Whether this process has the shim."""
    return hasattr(ctypes.CDLL(None), "fault_arm")


def arm(root: str, kind: str = "none", at: int = 0, signal: int = 0, to: str = "", **_: object) -> None:
    """What shall happen at operation `at` below `root`; "record" writes to the file `to`."""
    ctypes.CDLL(None).fault_arm(os.fsencode(root), KINDS[kind], ctypes.c_long(at), signal, os.fsencode(to))


def count() -> int:
    """Operations since the shim was armed."""
    found: int = ctypes.CDLL(None).fault_count()
    return found


def operations(record: Path) -> list[Operation]:
    """All that was recorded."""
    content, place, found = record.read_bytes(), 0, []
    while place < len(content):
        op, first, second, offset = struct.unpack_from("<cIIq", content, place)
        place += 17
        path, place = content[place : place + first], place + first
        data, place = content[place : place + second], place + second
        found.append(Operation(op.decode(), os.fsdecode(path), data, offset))
    return found


def replay(done: list[Operation], source: str, target: str) -> None:
    """Do in the folder `target` what was done in `source`."""
    for op, path, data, offset in done:
        if path.endswith(" (deleted)"):
            continue
        if not path.startswith(source):  # a record of another folder, which must not be touched
            raise ValueError(f"{path} is not below {source}")
        here = path.replace(source, target, 1)
        if op == "M":
            os.makedirs(here, exist_ok=True)
        elif op in "CT":
            with open(here, "wb" if op == "T" else "ab"):
                pass
        elif op == "W":
            with open(here, "r+b") as file:
                file.seek(offset)
                file.write(data)
        elif op == "L":
            os.truncate(here, offset)
        elif op == "R":
            os.rename(here, os.fsdecode(data).replace(source, target, 1))
        elif op == "U":
            os.unlink(here)
        elif op == "D":
            shutil.rmtree(here)
