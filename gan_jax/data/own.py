"""A user's own images, from an .npz file or a folder: what is converted or decoded is kept in the cache folder.

An entry is `$XDG_CACHE_HOME/gan_jax/datasets/own/<key>.npz`. The key is the SHA-256 of what the images are made from
and of how, so a changed image makes a new entry, and one that was moved or renamed as a whole does not. An entry is not
split: which images are held out is worked out at each load.
"""

import contextlib
import hashlib
import math
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from gan_jax.data.convert import check_memory, check_request
from gan_jax.data.folder import Folder, open_folder
from gan_jax.data.npz import NAMES, Npz, open_npz
from gan_jax.data.registry import Split
from gan_jax.errors import UserError
from gan_jax.storage import Damaged, cache_folder, npz_headers, read_npz, replacing

VERSION = 3  # of how images are converted: another one makes all entries anew
HOLD_OUT_SEED = 0  # one for all runs, whatever theirs is: they must share what they are judged by


def load_own(path: Path, split: str, image_size: int | None, channels: int | None) -> Split:
    """Images uint8 [N, H, W, C] and labels int32 [N], or None, of a split of the file or folder at `path`.

    Raises:
      UserError: if they are missing, damaged, of a wrong form or more than the memory holds.
    """
    check_request(image_size, channels)
    source = _open(path)
    arrays = _arrays(source, image_size, channels)
    if "test_images" in source.counts:
        prefix = "test_" if split == "test" else ""
        return arrays[f"{prefix}images"], arrays.get(f"{prefix}labels")
    labels = arrays.get("labels")
    index = _held_out(source, labels)
    if split == "train":
        index = np.setdiff1d(np.arange(source.counts["images"]), index)
    return arrays["images"][index], None if labels is None else labels[index]


def split_note(path: Path) -> str:
    """What the images at `path` are as they are stored, what was passed over, and whether we hold out a test split."""
    source = _open(path)
    labels = source.read_labels()
    said = f"{source.counts['images']} images, {source.stored()}"
    said += (
        ", without labels" if labels is None else f", in {_counted(len(np.unique(labels)), 'class', 'es')}"
    )
    if source.passed_over:
        said += f"; {_counted(source.passed_over, 'other file')} passed over, which are no PNG or JPEG"
    if "test_images" in source.counts:
        return f"{said}. {source.counts['test_images']} more are for evaluation."
    num = len(_held_out(source, labels))
    drawn = f"drawn by seed {HOLD_OUT_SEED}{'' if labels is None else ' within each class'}"
    return f"{said}. {num} of them, {drawn}, are held out for evaluation."


def _counted(number: int, noun: str, plural: str = "s") -> str:
    return f"{number} {noun}{plural if number != 1 else ''}"


def _held_out(source: Npz | Folder, labels: np.ndarray | None) -> np.ndarray:
    """`held_out` of the source. Raises UserError if it is empty."""
    index = held_out(source.counts["images"], labels)
    if not len(index):
        raise UserError(
            f"{str(source.path)!r} holds one image of each class, so that none can be held out: add images or a test "
            f"split, or {source.UNLABELLED}."
        )
    return index


def held_out(count: int, labels: np.ndarray | None = None) -> np.ndarray:
    """Which of `count` images are the test split: a tenth, but 200 at least and 10,000 at most, if half allows.

    Each of the classes in `labels` [count] gives its share, and keeps one image at least: else a class of a few images
    might have none to learn from, and the splits another number of classes.
    """
    size = min(count // 2, max(count // 10, 200), 10_000)
    rng = np.random.default_rng(HOLD_OUT_SEED)
    order = rng.permutation(count)
    if labels is not None:
        order = _evenly(order, labels[order], rng)
    return np.sort(order[:size])


def _evenly(order: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The images anew in an order of which any first part has each class's share; the last of each class is left out.

    An image's place is its place in its own class, as a share of that class. The offset of each class makes the shares
    right on average, also where a class has fewer images than one share is.
    """
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    rank = np.empty(len(order), np.int64)
    rank[np.argsort(classes, kind="stable")] = np.concatenate([np.arange(n) for n in counts])
    place = (rank + rng.random(len(counts))[classes]) / counts[classes]
    spare = rank < counts[classes] - 1
    return order[spare][np.argsort(place[spare], kind="stable")]


def _open(path: Path) -> Npz | Folder:
    if path.is_dir():
        source: Npz | Folder = open_folder(path)
    elif path.suffix.lower() == ".npz" and path.is_file():
        source = open_npz(path)
    else:
        raise UserError(
            f"{str(path)!r} is neither an .npz file nor a folder of PNG and JPEG images: pass one."
        )
    if source.counts["images"] < 2 and "test_images" not in source.counts:
        raise UserError(f"{str(path)!r} holds 1 image, and must hold 2 or more: one of them is held out.")
    return source


def _arrays(source: Npz | Folder, image_size: int | None, channels: int | None) -> dict[str, np.ndarray]:
    """All arrays of the source: as they are, out of the cache, or converted and put there."""
    if source.is_plain(image_size, channels):
        return _read(source, image_size, channels)
    key = hashlib.sha256(f"{VERSION} {image_size} {channels} {source.digest()}".encode()).hexdigest()
    try:
        entry = cache_folder() / "datasets" / "own" / f"{key}.npz"
    except UserError as error:
        _warn(f"the converted images of {str(source.path)!r} cannot be kept: {error}")
        return _read(source, image_size, channels)
    with contextlib.suppress(Damaged, OSError):
        return _kept(entry, source)
    arrays = _read(source, image_size, channels)
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with replacing(entry) as new, new.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
    except OSError as error:
        _warn(
            f"the converted images of {str(source.path)!r} cannot be kept in {entry.parent} "
            f"({error.strerror or error}) and will be made again: set XDG_CACHE_HOME to a folder that can be written."
        )
    return arrays


def _read(source: Npz | Folder, image_size: int | None, channels: int | None) -> dict[str, np.ndarray]:
    """All arrays of the source, made anew. Raises UserError if no pixel differs from another: nothing can be learnt."""
    arrays = source.read(image_size, channels)
    value = arrays["images"].flat[0]
    # Image by image, since the first one tells as a rule.
    if all((image == value).all() for name in source.counts for image in arrays[name]):
        why = ", since what is transparent lies on black: put the drawings on white first"
        why = why if isinstance(source, Folder) and value == 0 else ": give images that differ"
        raise UserError(f"{str(source.path)!r}: every pixel of every image is {value}{why}.")
    return arrays


def _kept(entry: Path, source: Npz | Folder) -> dict[str, np.ndarray]:
    """The arrays of an entry; Damaged if it is, or if it is another's."""
    headers = npz_headers(entry)
    if {name: headers[name][0][0] for name in headers if name.endswith("images")} != source.counts:
        raise Damaged("it holds other images")
    needed = sum(math.prod(shape) * dtype.itemsize for shape, dtype in headers.values())
    check_memory(needed, repr(str(source.path)))
    return read_npz(entry, NAMES)


def _warn(message: str) -> None:
    tqdm.write(f"warning: {message}", file=sys.stderr)
