"""Hostile input: every file that is read and every command line, mutated in process.

Each attempt must end in a value, or in an error of one line, within bounds of time and of memory.
"""

import contextlib
import functools
import io
import math
import random
import shutil
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.fault_campaign.command_lines import COMMANDS, odd
from experiments.fault_campaign.mutations import mutated
from experiments.fault_campaign.read_files import KINDS
from gan_jax.checkpoint import Checkpoints
from gan_jax.errors import UserError
from gan_jax.quiet import brief
from gan_jax.storage import Damaged

SECONDS = 20.0  # that an attempt may take, on a busy machine
BYTES = 2**28  # that it may allocate in Python


def attempt(read: Callable[[], object]) -> bool:
    """Whether it was refused in one line. Raises AssertionError beyond the bounds, and lets all other errors pass."""
    begin = time.monotonic()
    tracemalloc.start()
    code: Any = None
    refusal = ""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            read()
    except (UserError, Damaged, OSError) as error:
        refusal = str(error) or "no words"
    except SystemExit as ended:
        code = ended.code  # of --help
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not code
    assert refusal.isprintable(), repr(refusal)
    assert time.monotonic() - begin < SECONDS, "too slow"
    assert peak < BYTES, f"{peak} bytes"
    return bool(refusal)


def file(name: str, folder: Path, seed: int) -> bool:
    """One mutation of a kind of file in an empty folder; whether it was refused."""
    rng, kind = random.Random(f"{name} {seed}"), KINDS[name]
    path = folder / kind.file
    if not (whole := folder.parent / f"{folder.name} whole").exists():
        whole.write_bytes(kind.content(folder))
    path.write_bytes(mutated(whole.read_bytes(), rng))
    return attempt(lambda: kind.read(path))


def checkpoint(source: Path, folder: Path, seed: int) -> bool:
    """One mutation of a file of the newest of a folder of checkpoints; whether all of them were refused."""
    rng = random.Random(f"checkpoint {seed}")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    with Checkpoints(folder) as checkpoints:
        newest = checkpoints.path(checkpoints.steps[-1])
    path = rng.choice(sorted(p for p in newest.rglob("*") if p.is_file()))
    path.write_bytes(mutated(path.read_bytes(), rng))

    def read() -> None:
        with Checkpoints(folder) as checkpoints:
            checkpoints.restore(lambda text: None)

    return attempt(read)


def command_line(name: str, seed: int) -> bool:
    """One odd command line; whether it was refused."""
    args = odd(name, seed)
    return attempt(lambda: COMMANDS[name].take(args))


def sweep(root: Path, source: Path, num: int) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """`num` mutations of all kinds; those done and those refused of each, and what went wrong.

    root: a folder that is made anew.
    source: a folder of checkpoints, whose mutations take a second each, so that they are a hundredth.
    """
    counts: dict[str, tuple[int, int]] = {}
    wrong: list[str] = []
    shutil.rmtree(root, ignore_errors=True)  # whole files of another version would be refused as they are
    tries: dict[str, Callable[[int], bool]] = {}
    for name in KINDS:
        folder = root / name.replace(" ", "-")
        folder.mkdir(parents=True, exist_ok=True)
        tries[name] = functools.partial(file, name, folder)
    for name in COMMANDS:
        tries[f"command line of {name}"] = functools.partial(command_line, name)
    tries["checkpoints"] = functools.partial(checkpoint, source, root / "checkpoints")
    shares = {name: 0.01 if name == "checkpoints" else 0.99 / (len(tries) - 1) for name in tries}
    for name, try_ in tries.items():
        done = refused = 0
        for seed in range(math.ceil(num * shares[name])):
            try:
                refused += try_(seed)
            except Exception as error:
                wrong.append(f"{name}, {seed}: {brief(error)}")
            done += 1
        counts[name] = (done, refused)
        print(f"{name}: {done} mutations, {refused} refused", flush=True)
    return counts, wrong
