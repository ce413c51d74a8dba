"""The datasets that TFDS prepared, and the arrays decoded from them, in the cache folder.

The first load of a set prepares it through TFDS and keeps it, together with the decoded arrays, under
`$XDG_CACHE_HOME/gan_jax/datasets` (else `~/.cache/gan_jax/datasets`); the next takes the arrays from there
and imports neither TFDS nor TensorFlow. No other folder is written to; `~/tensorflow_datasets` is left alone.

    <name>/<version>/        what TFDS prepared; `tfds.data_source(name, data_dir=...)` reads it, too
    <name>/decoded/*.npy     the arrays
    <name>/checksums.json    SHA-256 of the originals, of what was prepared and of the arrays, written last
    .<name>.lock             held by the one process that writes
    .<name>.preparing/       its work in progress; whoever holds the lock next removes what a killed one left
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm

from gan_jax.data import prepare
from gan_jax.data.originals import Labelled, Originals
from gan_jax.errors import UserError
from gan_jax.storage import cache_folder, content_of, locked, sha256_of_file, write_atomically

# What a disk or its owner may refuse. Any other OSError is a bug of ours.
UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}
UNWRITABLE |= {errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.ENAMETOOLONG, errno.EISDIR, errno.ESTALE}


def load_prepared(name: str, originals: Originals, split: str, data_dir: str | Path | None) -> Labelled:
    """A split of the set made from `originals`: out of the cache, rebuilt first unless all is well there."""
    given = originals.given(name, data_dir)
    root = cache_folder() / "datasets"
    arrays = _cached(root / name, originals, split)
    if arrays is None:
        with _lock(root, name):
            arrays = _cached(root / name, originals, split)  # another process may just have made it
            if arrays is None:
                _rebuild(root, name, originals, given, data_dir)
                arrays = _cached(root / name, originals, split)
    if arrays is None:
        raise UserError(f"{root / name} changed or does not hold what was written to it: check that disk.")
    return arrays


def _cached(folder: Path, originals: Originals, split: str) -> Labelled | None:
    """The decoded arrays, if they and the prepared set are those whose checksums were recorded."""
    checksums = _recorded(folder, originals)
    if not _intact(folder, checksums["prepared"]):
        return None
    arrays = []
    for part in ("images", "labels"):
        file = f"decoded/{split}_{part}.npy"
        try:
            data = content_of(folder / file)
        except OSError:
            return None
        if hashlib.sha256(data).hexdigest() != checksums["decoded"].get(file):
            return None
        arrays.append(np.load(io.BytesIO(data), allow_pickle=False))
    return arrays[0], arrays[1]


def _recorded(folder: Path, originals: Originals) -> dict[str, dict[str, str]]:
    """The checksums recorded for the set; none if they are unreadable or speak of other original files."""
    nothing: dict[str, dict[str, str]] = {"originals": {}, "prepared": {}, "decoded": {}}
    try:
        found = json.loads(content_of(folder / "checksums.json"))
    except (OSError, ValueError):
        return nothing
    if not isinstance(found, dict) or found.get("originals") != dict(originals.sha256):
        return nothing
    return found if all(isinstance(found.get(key), dict) for key in nothing) else nothing


def _intact(folder: Path, checksums: Mapping[str, str]) -> bool:
    try:
        return bool(checksums) and all(
            sha256_of_file(folder / file) == sha for file, sha in checksums.items()
        )
    except OSError:
        return False


def _rebuild(
    root: Path, name: str, originals: Originals, given: Mapping[str, bytes], data_dir: str | Path | None
) -> None:
    """Makes `root/name` anew, or only the decoded arrays if the prepared set is intact. The lock is held."""
    folder, work = root / name, root / f".{name}.preparing"
    intact = _intact(folder, _recorded(folder, originals)["prepared"])
    files = {} if intact else originals.gather(name, given, data_dir)
    bar_format = "{desc}{percentage:3.0f}%|{bar}| {elapsed}"
    with tqdm(desc=name, total=0, bar_format=bar_format, mininterval=0.2, disable=None) as bar:
        if intact:
            prepare.decode_originals(name, folder, bar)
            _record(folder, originals)
            bar.set_description(f"{name}: prepared")
            return
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            prepare.prepare_originals(name, originals, files, work, bar)
            _record(work / name, originals)
            if os.path.lexists(folder):
                folder.rename(work / "replaced")
            (work / name).rename(folder)
            bar.set_description(f"{name}: prepared")
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _record(folder: Path, originals: Originals) -> None:
    """Records all checksums of what is in `folder`: only these make the arrays count."""
    [info] = folder.glob("*/dataset_info.json")
    checksums = {
        "originals": dict(originals.sha256),
        **{
            key: {f"{part.name}/{path.name}": sha256_of_file(path) for path in sorted(part.iterdir())}
            for key, part in {"prepared": info.parent, "decoded": folder / "decoded"}.items()
        },
    }
    write_atomically(folder / "checksums.json", json.dumps(checksums, indent=1))


@contextlib.contextmanager
def _lock(root: Path, name: str) -> Iterator[None]:
    """Holds the set's lock; that the cache cannot be written to becomes a UserError."""

    def waiting() -> None:
        print(f"waiting for another process that is preparing {name}", file=sys.stderr)

    try:
        root.mkdir(parents=True, exist_ok=True)
        with locked(root / f".{name}.lock", waiting=waiting):
            yield
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise UserError(
            f"the cache folder {root} cannot be written to ({error.strerror or error}). "
            "Set the environment variable XDG_CACHE_HOME to a folder that can."
        ) from None
