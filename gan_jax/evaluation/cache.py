"""What is computed once of real images, kept as .npz in the user's cache folder.

A file is tied by a hash to all that its contents depend on: the images themselves, the feature network, the
kind of device, and the source of this package's metrics, so that no change of theirs leaves stale numbers.
"""

import functools
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax import report
from gan_jax.features.classifier import NPZ_DAMAGE
from gan_jax.storage import cache_folder

Arrays = dict[str, np.ndarray]


def array_sha256(array: np.ndarray) -> str:
    """SHA-256 of an array's type, shape and contents."""
    digest = hashlib.sha256(f"{array.dtype} {array.shape} ".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@functools.cache
def _source_sha256() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def cached(name: str, depends_on: dict[str, Any], compute: Callable[[], Arrays]) -> Arrays:
    """What `compute` returns, from the file NAME-HASH.npz if it is there and whole; else it is put there.

    A folder that cannot be written to costs a warning and the time to compute anew.
    """
    key = json.dumps({"backend": jax.default_backend(), "source": _source_sha256(), **depends_on})
    digest = hashlib.sha256(key.encode()).hexdigest()
    try:
        path = cache_folder() / "statistics" / f"{name}-{digest[:16]}.npz"
    except RuntimeError:  # no home folder
        return compute()
    if (found := _read(path, key)) is not None:
        return found
    arrays = compute()
    try:
        _write(path, {**arrays, "key": np.array(key)})
    except OSError as error:
        report.warn(f"{path} cannot be written ({error.strerror}): it will have to be computed again.")
    return arrays


def _read(path: Path, key: str) -> Arrays | None:
    try:
        # Opened here, since np.load leaves a damaged file open.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        return None
    except NPZ_DAMAGE as error:
        report.warn(f"{path} is damaged ({str(error)[:80]}) and is made anew.")
        return None
    return arrays if str(arrays.pop("key", "")) == key else None


def _write(path: Path, arrays: Arrays) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")  # of this process alone: two may be at it
    try:
        with new.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
