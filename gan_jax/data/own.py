"""Own images: an .npz file or a folder of PNG and JPEG files, as the arrays that `gan_jax.data.load` gives.

An .npz holds `images` [N, H, W] or [N, H, W, C], uint8 or floats in [0, 1] or [-1, 1], perhaps `labels` [N], whole
numbers from 0 on, and perhaps `test_images` and `test_labels`. Where there is no test split a part of the images is
held out as one: always the same, whatever the seed of a run.
"""

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from gan_jax.data import folder
from gan_jax.errors import UserError
from gan_jax.storage import Damaged, available_memory, read_npz

SMALLEST, LARGEST = 8, 128  # of height and width
SEED = 0  # of the choice of held-out images

Split = tuple[np.ndarray, np.ndarray | None]


def load(path: Path, split: str, image_size: int | None, channels: int | None) -> Split:
    """Images uint8 [N, H, W, C], and labels int32 [N] or None, of the split "train" or "test".

    Raises:
      UserError: for anything that is no such file or folder, or does not fit into memory.
    """
    return _splits(path, image_size, channels)[0][split]


def held_out_note(path: Path, image_size: int | None, channels: int | None) -> str | None:
    """A sentence that says how many images are held out; None where the test split was given."""
    splits, given = _splits(path, image_size, channels)
    if given:
        return None
    train, test = (len(splits[split][0]) for split in ("train", "test"))
    return (
        f"{test} of the {train + test} images in {path}, chosen by seed {SEED}, are held out for evaluation."
    )


def _splits(path: Path, image_size: int | None, channels: int | None) -> tuple[dict[str, Split], bool]:
    """Both splits, and whether the test split was given."""
    found = folder.read(path, image_size, channels) if path.is_dir() else _read(path, image_size, channels)
    for images, _ in found.values():
        _check_shape(path, images.shape)
    if "test" in found:
        if found["train"][0].shape[1:] != found["test"][0].shape[1:]:
            raise UserError(f"{path}: the test images have another shape than the others: give --image_size.")
        return found, True
    return _held_out(path, *found["train"]), False


def _held_out(path: Path, images: np.ndarray, labels: np.ndarray | None) -> dict[str, Split]:
    num = len(images)
    if num < 2:
        raise UserError(f"{path} holds {num} images; at least 2 are needed, one of them for evaluation.")
    # A tenth, but enough for the metrics' features where there are few.
    test = min(num // 2, max(num // 10, 200), 10_000)
    chosen = np.zeros(num, bool)
    chosen[np.random.default_rng(SEED).permutation(num)[:test]] = True
    part = lambda mask: (images[mask], None if labels is None else labels[mask])
    return {"train": part(~chosen), "test": part(chosen)}


def _check_shape(path: Path, shape: tuple[int, ...]) -> None:
    height, width, channels = shape[1:]
    if not (SMALLEST <= height <= LARGEST and SMALLEST <= width <= LARGEST):
        raise UserError(
            f"{path}: the images are {height} × {width}, and must be from {SMALLEST} to {LARGEST}: give --image_size."
        )
    if channels not in (1, 3):
        raise UserError(
            f"{path}: the images have {channels} channels, and must have 1 or 3: give --channels=3."
        )


def _read(path: Path, image_size: int | None, channels: int | None) -> dict[str, Split]:
    """The splits in an .npz file."""
    if path.suffix != ".npz" or not path.is_file():
        raise UserError(f"--dataset={path} is neither an .npz file nor a folder of images.")
    _check_size(path)
    try:
        arrays = read_npz(path)
    except Damaged as error:
        raise UserError(f"{path} is damaged or no .npz file of plain arrays ({error}).") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error
    if "images" not in arrays:
        raise UserError(f"{path} has no array 'images'; it has: {', '.join(arrays) or 'none'}.")
    splits = {"train": "", "test": "test_"} if "test_images" in arrays else {"train": ""}
    return {
        split: (
            converted(_uint8(path, arrays[f"{prefix}images"]), image_size, channels),
            _labels(path, arrays.get(f"{prefix}labels"), len(arrays[f"{prefix}images"])),
        )
        for split, prefix in splits.items()
    }


def _check_size(path: Path) -> None:
    """Raises `UserError` if the arrays, as their headers declare them, are more than half of the free memory."""
    declared = 0
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                with archive.open(entry) as stream:
                    if np.lib.format.read_magic(stream) == (1, 0):
                        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
                        declared += int(np.prod([float(n) for n in shape])) * dtype.itemsize
    except (
        zipfile.BadZipFile,
        ValueError,
        OSError,
        EOFError,
        OverflowError,
        NotImplementedError,
        RuntimeError,
    ):
        return  # `read_npz` says what is wrong with it
    free = available_memory()
    if declared > free / 2:
        raise UserError(
            f"{path} holds {declared / 1e9:.2f} GB, more than half of the {free / 1e9:.2f} GB of memory that are free: "
            "give fewer or smaller images."
        )


def _uint8(path: Path, images: np.ndarray) -> np.ndarray:
    """[N, H, W, C], whatever range the file has them in."""
    images = images[..., None] if images.ndim == 3 else images
    if images.ndim != 4 or 0 in images.shape:
        raise UserError(f"{path}: 'images' must be [N, H, W] or [N, H, W, C], not {list(images.shape)}.")
    if images.dtype == np.uint8:
        return images
    allowed = "uint8, or floats in [0, 1] or [-1, 1]"
    if not np.issubdtype(images.dtype, np.floating):
        raise UserError(f"{path}: 'images' must be {allowed}, not {images.dtype}.")
    low, high = float(images.min()), float(images.max())
    if not (low >= -1 and high <= 1):  # also for NaN
        raise UserError(f"{path}: 'images' must be {allowed}; these are from {low:g} to {high:g}.")
    scaled = images.astype(np.float32) * 255 if low >= 0 else (images.astype(np.float32) + 1) * 127.5
    return np.round(scaled).astype(np.uint8)


def _labels(path: Path, labels: np.ndarray | None, num: int) -> np.ndarray | None:
    if labels is None:
        return None
    if labels.shape != (num,) or not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise UserError(
            f"{path}: 'labels' must be whole numbers from 0 on, one for each of the {num} images, "
            f"not {labels.dtype} {list(labels.shape)}."
        )
    return labels.astype(np.int32)


def converted(images: np.ndarray, image_size: int | None, channels: int | None) -> np.ndarray:
    """uint8 images [N, H, W, C], resized with antialiasing and made grey or coloured where that is asked for."""
    same_size = image_size is None or images.shape[1:3] == (image_size, image_size)
    same_channels = channels is None or images.shape[3] == channels
    if (same_size and same_channels) or images.shape[3] not in (1, 3):
        return images
    pictures = (Image.fromarray(x[..., 0] if x.shape[-1] == 1 else x) for x in images)
    return np.stack(
        [folder.as_array(picture, image_size, channels or images.shape[3]) for picture in pictures]
    )
