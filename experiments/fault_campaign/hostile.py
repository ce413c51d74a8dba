"""Hostile input: every file that is read and every command line, mutated in process.

Each attempt must end in a value, or in an error of one line, within bounds of time and of memory.
"""

import contextlib
import functools
import gzip
import io
import json
import math
import random
import shutil
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from gan_jax import (
    cli,
    compare,
    config,
    data,
    environment,
    evaluate,
    export,
    film,
    plugins,
    report,
    sample,
    take_out,
    train_classifier,
    workdir,
)
from gan_jax.checkpoint import Checkpoints
from gan_jax.config import Config
from gan_jax.data.folder import open_folder
from gan_jax.data.npz import open_npz
from gan_jax.errors import UserError
from gan_jax.evaluation.images_file import read_images
from gan_jax.explore import __main__ as explore
from gan_jax.features.classifier import load_variables
from gan_jax.features.torch_file import read_state_dict
from gan_jax.human_eval import __main__ as human_eval
from gan_jax.parts import Facts
from gan_jax.plan import plan
from gan_jax.quiet import brief
from gan_jax.storage import Damaged, npz_bytes, read_npz

SECONDS = 20.0  # that an attempt may take, on a busy machine
BYTES = 2**28  # that it may allocate in Python

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
FACTS = Facts((8, 8, 1), 96, None, "0" * 64)


class Kind(NamedTuple):
    """A kind of file: its name, a whole one's content, and what reads it."""

    file: str
    content: Callable[[Path], bytes]
    read: Callable[[Path], object]


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


def _config(folder: Path) -> bytes:
    workdir.write_config(folder, Config(preset="wgan_gp", model="mlp"), FACTS)
    return (folder / "config.json").read_bytes()


def _population(folder: Path) -> bytes:
    workdir.write_population_config(folder, [Config(seed=i) for i in range(2)], FACTS)
    return (folder / "config.json").read_bytes()


def _metrics(folder: Path) -> bytes:
    row = {"epoch": 1, "batch": 3, "d_loss": 0.5, "g_loss": 1.5, "real_score": 0.1, "steps_per_s": 20.5}
    return b"".join(json.dumps({"step": 5 * i, **row}).encode() + b"\n" for i in range(1, 6))


def _environment(folder: Path) -> bytes:
    environment.record(folder, 0, print)
    return (folder / "environment.json").read_bytes()


def _npz(folder: Path) -> bytes:
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), np.uint8)
    return npz_bytes({"images": images, "labels": np.arange(12) % 3})


def _idx(folder: Path) -> bytes:
    return gzip.compress(b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (3, 8, 8)) + bytes(192))


def _png(folder: Path) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(stream, "PNG")
    return stream.getvalue()


def _jpeg(folder: Path) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(stream, "JPEG")
    return stream.getvalue()


def _weights(folder: Path) -> bytes:
    """A state dict of one tensor, as `torch.save` writes it: protocol 2, written by hand."""
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n("
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
    pickle = b"\x80\x02}X\x01\x00\x00\x00w" + rebuild + storage + b"K\x00K\x04\x85K\x01\x85\x89}tRs."
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a/data.pkl", pickle)
        archive.writestr("a/data/0", np.arange(4, dtype="<f4").tobytes())
    return stream.getvalue()


def _plugin(folder: Path) -> bytes:
    return b"from gan_jax.objectives import OBJECTIVES\nOBJECTIVES['mine'] = OBJECTIVES['hinge']\n"


def _images_of_folder(path: Path) -> object:
    return open_folder(path.parent).read(8, 1)


def _read_idx(path: Path) -> object:
    return data.load("mnist", "train", path.parent)


KINDS: dict[str, Kind] = {
    "config.json": Kind("config.json", _config, lambda path: workdir.read(path.parent)),
    "a population's config.json": Kind("config.json", _population, workdir.read_file),
    "metrics.jsonl": Kind("metrics.jsonl", _metrics, lambda path: report.read_rows(path, 100)),
    "environment.json": Kind(
        "environment.json", _environment, lambda path: environment.record(path.parent, 5, print)
    ),
    "own npz": Kind("x.npz", _npz, lambda path: open_npz(path).read(None, None)),
    "npz to judge": Kind("x.npz", _npz, lambda path: read_images(path, (8, 8, 1), 4)),
    "npz of the cache": Kind("x.npz", _npz, read_npz),
    "a classifier": Kind("x.npz", _npz, lambda path: load_variables(path, (8, 8, 1))),
    "IDX": Kind("train-images-idx3-ubyte.gz", _idx, _read_idx),
    "PyTorch weights": Kind("x.pth", _weights, read_state_dict),
    "PNG": Kind("x.png", _png, _images_of_folder),
    "JPEG": Kind("x.jpg", _jpeg, _images_of_folder),
    "plugin": Kind("x.py", _plugin, plugins.load_plugin),
}


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


def _parser(kind: type) -> Callable[[list[str]], object]:
    return lambda args: cli.parse(kind, args, prog="python -m x", description="")


COMMANDS: dict[str, Callable[[list[str]], object]] = {
    "train": lambda args: plan(config.from_args(args), 96),
    "sample": _parser(sample.Options),
    "evaluate": _parser(evaluate.Options),
    "compare": _parser(compare.Options),
    "train_classifier": _parser(train_classifier.Options),
    "film": _parser(film.Options),
    "explore": _parser(explore.Options),
    "export": _parser(export.Options),
    "take_out": _parser(take_out.Options),
    "human_eval": _parser(human_eval.Options),
}
# Short texts, so that none names a file that is there.
TEXTS: tuple[str, ...] = (
    "",
    " ",
    "0",
    "-1",
    "1",
    "2147483648",
    "1e999",
    "nan",
    "inf",
    "1_000",
    "٣",
    "²",
    "\ud800",
    "hinge",
    "gp",
    "--",
)
TEXTS += (
    "best",
    "x" * 5000,
    "a=b",
    "~nobody/x",
    "%s",
    "\n",
    "\x1b[2J",
    "0x10",
    "1.5",
    "none",
    "true",
    "mnist",
    "[]",
    ",",
)


def sweep(root: Path, source: Path, num: int) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """`num` mutations of all kinds; those done and those refused of each, and what went wrong.

    source: a folder of checkpoints, whose mutations take a second each, so that they are a hundredth.
    """
    counts: dict[str, tuple[int, int]] = {}
    wrong: list[str] = []
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


def command_line(name: str, seed: int) -> bool:
    """One odd command line; whether it was refused."""
    rng = random.Random(f"{name} {seed}")
    flags = [
        "loss",
        "preset",
        "penalty",
        "steps",
        "epochs",
        "seed",
        "batch-size",
        "z_dim",
        "dataset",
        "workdir",
        "num",
    ]
    flags += [
        "out",
        "checkpoint",
        "npz",
        "systems",
        "seeds",
        "conditional",
        "no_conditional",
        "member",
        "help",
        "x",
        "",
    ]
    args = []
    for _ in range(rng.randrange(6)):
        flag, text = f"--{rng.choice(flags)}", rng.choice(TEXTS)
        args += rng.choice(([f"{flag}={text}"], [flag, text], [flag], [text], [f"{flag}={text}", text]))
    return attempt(lambda: COMMANDS[name](args))
