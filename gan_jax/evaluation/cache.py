"""What is computed once of real images, kept as .npz in the user's cache folder.

A file is tied by a hash to all that its contents depend on: the caller names the images, the feature network and
the versions of what is computed (`FEATURES_VERSION`, a family's `version`); the kind of device is added here. The
package's source is not part of it: a comment edited would discard everybody's numbers.
"""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax import report, storage
from gan_jax.errors import UserError


def cached(
    name: str, depends_on: dict[str, Any], compute: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """What `compute` returns, from the file NAME-HASH.npz if it is there and whole; else it is put there.

    A folder that cannot be written to costs a warning and the time to compute anew.
    """
    key = json.dumps({"backend": jax.default_backend(), **depends_on})
    digest = hashlib.sha256(key.encode()).hexdigest()
    file = f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', name)[:100]}-{digest[:16]}.npz"
    try:
        path = storage.cache_folder() / "statistics" / file
    except UserError:  # no home folder
        return compute()
    if (found := _read(path, key)) is not None:
        return found
    arrays = compute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        storage.write_atomically(path, storage.npz_bytes({**arrays, "key": np.array(key)}))
    except OSError as error:
        report.warn(f"{path} cannot be written ({error.strerror}): it will have to be computed again.")
    return arrays


def _read(path: Path, key: str) -> dict[str, np.ndarray] | None:
    try:
        arrays = storage.read_npz(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (storage.Damaged, OSError) as error:
        report.warn(f"{path} is damaged ({error}) and is made anew.")
        return None
    return arrays if str(arrays.pop("key", "")) == key else None
