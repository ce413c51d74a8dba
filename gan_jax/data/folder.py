"""A folder of PNG and JPEG files: subfolders are classes, in the order of their names, or there are none.

Subfolders `train` and `test` are the splits. The pictures are decoded once, into the user's cache folder, under a
hash of all their bytes.
"""

import hashlib
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from gan_jax.errors import UserError
from gan_jax.storage import Damaged, available_memory, cache_folder, npz_bytes, read_npz, write_atomically

SUFFIXES = (".png", ".jpg", ".jpeg")
VERSION = 1  # of what is cached

Split = tuple[np.ndarray, np.ndarray | None]


def read(path: Path, image_size: int | None, channels: int | None) -> dict[str, Split]:
    """The splits: images uint8 [N, H, W, C] and labels int32 [N] or None.

    Raises:
      UserError: for a folder without images, a damaged one, sizes that differ without `image_size`, or too many.
    """
    roots = {split: path / split for split in ("train", "test")}
    if not all(root.is_dir() for root in roots.values()):
        roots = {"train": path}
    splits = {split: _read(root, image_size, channels) for split, root in roots.items()}
    if len({labels is None for _, labels in splits.values()}) > 1:
        raise UserError(f"{path}: one of train and test has classes and the other has none.")
    return splits


def _files(root: Path) -> tuple[list[Path], list[int] | None]:
    """The pictures in order, and their classes; no classes where they lie in the folder itself."""
    found = sorted(
        p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES and not _hidden(p.relative_to(root))
    )
    direct = [p for p in found if p.parent == root]
    if not found:
        raise UserError(f"--dataset={root} holds no PNG or JPEG file.")
    if len(direct) == len(found):
        return found, None
    if direct:
        raise UserError(
            f"{direct[0]} lies beside folders of classes: put it into one of them, or move it away."
        )
    names = sorted({p.relative_to(root).parts[0] for p in found})
    return found, [names.index(p.relative_to(root).parts[0]) for p in found]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _read(root: Path, image_size: int | None, channels: int | None) -> Split:
    files, classes = _files(root)
    labels = None if classes is None else np.array(classes, np.int32)
    digest = hashlib.sha256(f"{VERSION} {image_size} {channels}".encode())
    for file in files:
        if not file.is_file():
            raise UserError(f"{file} is no file: move it away.")
        content = file.read_bytes()
        digest.update(f"\n{file.relative_to(root)} {len(content)}\n".encode("utf-8", "surrogateescape"))
        digest.update(content)
    cached = cache_folder() / "datasets" / "own" / f"{digest.hexdigest()}.npz"
    try:
        return read_npz(cached)["images"], labels
    except (OSError, Damaged, KeyError):
        images = _decoded(root, files, image_size, channels)
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(cached, npz_bytes({"images": images}))
    except OSError as error:
        print(
            f"warning: {cached} cannot be written ({error.strerror}): it will be decoded again.",
            file=sys.stderr,
        )
    return images, labels


def _decoded(root: Path, files: Sequence[Path], image_size: int | None, channels: int | None) -> np.ndarray:
    first = _array(files[0], image_size, channels)
    total, free = first.nbytes * len(files), available_memory()
    if total > free / 2:
        raise UserError(
            f"{root} holds {len(files)} images, {total / 1e9:.2f} GB, more than half of the {free / 1e9:.2f} GB of "
            "memory that are free: give fewer, a smaller --image_size, or --channels=1."
        )
    images = np.zeros((len(files), *first.shape), np.uint8)
    with ThreadPoolExecutor() as pool:
        arrays = pool.map(lambda file: _array(file, image_size, first.shape[-1]), files)
        for i, array in enumerate(tqdm(arrays, desc=root.name, total=len(files), disable=None, leave=False)):
            if array.shape != first.shape:
                raise UserError(
                    f"{files[0]} is {first.shape[0]} × {first.shape[1]} and {files[i]} {array.shape[0]} × "
                    f"{array.shape[1]}: give --image_size=32, for one, to make all of one size."
                )
            images[i] = array
    return images


def _array(file: Path, image_size: int | None, channels: int | None) -> np.ndarray:
    """A picture as uint8 [H, W, 1 or 3], turned as its EXIF says, over black where it is transparent."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as opened:
                picture = ImageOps.exif_transpose(opened)
                if (
                    picture.mode.startswith("I") or picture.mode == "F"
                ):  # 16 bits, which `convert` would cut off
                    values = np.asarray(picture, np.float32)
                    picture = Image.fromarray(
                        np.clip(values / 257 if values.max() > 255 else values, 0, 255).astype(np.uint8)
                    )
                if picture.has_transparency_data:
                    picture = picture.convert("RGBA")
                    picture = Image.alpha_composite(
                        Image.new("RGBA", picture.size, "black"), picture
                    ).convert("RGB")
                grey = picture.mode in ("1", "L")
                return as_array(picture, image_size, channels or (1 if grey else 3))
    except (
        OSError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{file} is no image that can be read ({reason}): move it away.") from error


def as_array(picture: Image.Image, image_size: int | None, channels: int) -> np.ndarray:
    """A picture as uint8 [H, W, channels], square if `image_size` says so."""
    picture = picture.convert("L" if channels == 1 else "RGB")
    if image_size is not None:
        picture = picture.resize((image_size, image_size), Image.Resampling.LANCZOS)
    array = np.asarray(picture)
    return array[..., None] if array.ndim == 2 else array
