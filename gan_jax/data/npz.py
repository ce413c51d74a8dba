"""Own images in an .npz file.

images        uint8, or floating in [0, 1] or in [-1, 1]; [N, H, W], [N, H, W, 1] or [N, H, W, 3]
labels        integers [N], from 0 on; they may be left out
test_images   the test split, in the same form; left out, one is held out of `images`
test_labels   its labels, if `labels` are given
"""

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from gan_jax.data.convert import check_memory, check_shape, fitted, stack
from gan_jax.errors import UserError
from gan_jax.storage import Damaged, npz_headers, read_npz, sha256_of_file

NAMES = ("images", "labels", "test_images", "test_labels")
FORMS = "uint8, or floating numbers in [0, 1] or in [-1, 1]"
BLOCK = 1024  # images converted at once: a float64 copy of all would take eight times their memory

Header = tuple[tuple[int, ...], np.dtype]


@dataclasses.dataclass(frozen=True)
class Npz:
    """A file whose headers were checked, and of which nothing was loaded."""

    UNLABELLED: ClassVar = "leave the labels out"  # how to have no classes

    passed_over: ClassVar = 0

    path: Path
    headers: Mapping[str, Header]

    @property
    def counts(self) -> dict[str, int]:
        """The number of images in `images` and, if they are given, in `test_images`."""
        return {name: self.headers[name][0][0] for name in ("images", "test_images") if name in self.headers}

    def stored(self) -> str:
        """The size of the images in the file."""
        return "stored as " + "×".join(map(str, _shape(self.headers["images"])))

    def is_plain(self, image_size: int | None, channels: int | None) -> bool:
        """Whether the images can be taken as they are."""
        height, width, depth = _shape(self.headers["images"])
        kept = image_size in (None, height) and image_size in (None, width) and channels in (None, depth)
        return kept and all(self.headers[name][1] == np.uint8 for name in self.counts)

    def digest(self) -> str:
        """SHA-256 of the content."""
        return sha256_of_file(self.path)

    def read_labels(self) -> np.ndarray | None:
        """The labels int32 [N] of `images`, if there are any; the images are not read. Raises UserError as `read`."""
        if "labels" not in self.headers:
            return None
        return _labels(self.path, "labels", self._arrays(["labels"])["labels"])

    def read(self, image_size: int | None, channels: int | None) -> dict[str, np.ndarray]:
        """The arrays by their names: images uint8 [N, H, W, C], labels int32 [N].

        Raises:
          UserError: for images or labels that are not as they must be, or that the memory does not hold.
        """
        height, width, depth = _shape(self.headers["images"])
        shape = (image_size or height, image_size or width, channels or depth)
        check_shape(shape, f"{str(self.path)!r}")
        stored = sum(math.prod(shape) * dtype.itemsize for shape, dtype in self.headers.values())
        check_memory(max(stored, sum(self.counts.values()) * math.prod(shape)), f"{str(self.path)!r}")
        arrays = self._arrays(NAMES)
        labels = {name: _labels(self.path, name, arrays[name]) for name in arrays if name not in self.counts}
        _check_classes(self.path, labels)
        images = self._uint8({name: arrays[name].reshape(-1, height, width, depth) for name in self.counts})
        if not self.is_plain(image_size, channels):
            images = {
                name: _fit(array, image_size, channels, shape, self.path) for name, array in images.items()
            }
        return {**images, **labels}

    def _arrays(self, names: Collection[str]) -> dict[str, np.ndarray]:
        try:
            return read_npz(self.path, names)
        except Damaged as error:
            raise _damaged(self.path, error) from None

    def _uint8(self, images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        floats = [array for array in images.values() if array.dtype != np.uint8]
        if not floats:
            return dict(images)
        # NumPy's own least and greatest: Python's would pass over a NaN that is not in the first array.
        low = np.min([array.min() for array in floats])
        high = np.max([array.max() for array in floats])
        if not (low >= -1 and high <= 1):  # nor is NaN, which both would then be
            raise UserError(
                f"{str(self.path)!r}: the images range from {low} to {high}, and must be {FORMS}."
            )
        lowest = 0 if low >= 0 else -1
        return {name: _from_floats(array, lowest) for name, array in images.items()}


def open_npz(path: Path) -> Npz:
    """The file at `path`, of which only the headers are read.

    Raises:
      UserError: if it cannot be read, is damaged, or lacks images or holds them in another form.
    """
    try:
        headers = npz_headers(path)
    except Damaged as error:
        raise _damaged(path, error) from None
    except OSError as error:
        raise UserError(f"{str(path)!r} cannot be read ({error.strerror or error}).") from None
    for problem in _problems(headers):
        raise UserError(f"{str(path)!r}: {problem}")
    return Npz(path, {name: headers[name] for name in NAMES if name in headers})


def _problems(headers: Mapping[str, Header]) -> Iterator[str]:
    """What is wrong with the shapes and types of the arrays."""
    if "images" not in headers:
        found = ", ".join(sorted(headers)) or "nothing"
        yield f"there is no array 'images', but {found}: save it by np.savez(FILE, images=…, labels=…)."
    for name in ("images", "test_images"):
        if name in headers:
            shape, dtype = headers[name]
            if len(shape) not in (3, 4) or 0 in shape or (len(shape) == 4 and shape[3] not in (1, 3)):
                yield f"'{name}' is {list(shape)}, and must be [N, H, W], [N, H, W, 1] or [N, H, W, 3]."
            if dtype != np.uint8 and dtype.kind != "f":
                yield f"'{name}' is {dtype}, and must be {FORMS}."
    for labels, images in (("labels", "images"), ("test_labels", "test_images")):
        if labels in headers:
            shape, dtype = headers[labels]
            if images not in headers:
                yield f"there are '{labels}' without '{images}': add these, or leave '{labels}' out."
            if dtype.kind not in "iu" or shape != headers[images][0][:1]:
                wanted = headers[images][0][0]
                yield f"'{labels}' is {dtype} {list(shape)}, and must be integers [{wanted}], one for each image."
    if "test_images" in headers:
        if ("labels" in headers) != ("test_labels" in headers):
            yield "there are labels for one split only: give both 'labels' and 'test_labels', or neither."
        if _shape(headers["test_images"]) != _shape(headers["images"]):
            one, other = (list(_shape(headers[name])) for name in ("images", "test_images"))
            yield f"'images' are {one} and 'test_images' {other}: they must be of one size."
        if headers["test_images"][1] != headers["images"][1]:
            one_type, other_type = headers["images"][1], headers["test_images"][1]
            yield f"'images' are {one_type} and 'test_images' {other_type}: they must be of one type."


def _shape(header: Header) -> tuple[int, int, int]:
    """[H, W, C] of the images with this header."""
    shape, _ = header
    return shape[1], shape[2], shape[3] if len(shape) == 4 else 1


def _labels(path: Path, name: str, labels: np.ndarray) -> np.ndarray:
    low, high = labels.min(), labels.max()
    if low < 0 or high > np.iinfo(np.int32).max:
        raise UserError(
            f"{str(path)!r}: '{name}' range from {low} to {high}, and must be from 0 to 2147483647."
        )
    return labels.astype(np.int32)


def _check_classes(path: Path, labels: Mapping[str, np.ndarray]) -> None:
    """Raises UserError for classes in the test split alone: no net could learn them, and samples cannot be of them."""
    if "test_labels" in labels and len(extra := np.setdiff1d(labels["test_labels"], labels["labels"])):
        named = ", ".join(map(str, extra[:3])) + (", …" if len(extra) > 3 else "")
        raise UserError(
            f"{str(path)!r}: 'test_labels' have classes that 'labels' lack ({named}): add images of these to 'images', "
            "or take them out of 'test_images'."
        )


def _from_floats(images: np.ndarray, lowest: int) -> np.ndarray:
    """Floating images from `lowest`, 0 or -1, to 1 as uint8, rounded."""
    converted = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), BLOCK):
        block = images[start : start + BLOCK].astype(np.float64)
        converted[start : start + BLOCK] = np.rint((block - lowest) * (255 / (1 - lowest)))
    return converted


def _fit(
    images: np.ndarray, image_size: int | None, channels: int | None, shape: tuple[int, ...], path: Path
) -> np.ndarray:
    """uint8 images [N, H, W, C] brought to the size and the channels."""

    def one(index: int) -> np.ndarray:
        pixels = images[index]
        picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        return fitted(picture, image_size, channels)

    return images if images.shape[1:] == shape else stack(len(images), shape, one, path.stem)


def _damaged(path: Path, error: Damaged) -> UserError:
    return UserError(
        f"{str(path)!r} is damaged or no .npz file ({error}): save it by np.savez(FILE, images=…, labels=…)."
    )
