"""Own images in a folder of PNG and JPEG files.

    FOLDER/a.png …                  images without labels
    FOLDER/cat/a.png …              a class for each subfolder, labelled from 0 in the order of their names
    FOLDER/train/…, FOLDER/test/…   the same two forms for each split

Subfolders are searched to any depth. Hidden files and folders and those of other types are passed over.
"""

import dataclasses
import hashlib
import os
import stat
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from gan_jax.data.convert import check_memory, check_shape, decode, stack
from gan_jax.errors import UserError
from gan_jax.storage import sha256_of_file

SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclasses.dataclass(frozen=True)
class Folder:
    """The files of each split, in their order, and their labels; nothing was decoded."""

    UNLABELLED: ClassVar = "put all images into one folder, without classes"  # how to have none

    path: Path
    files: Mapping[str, list[Path]]  # "images" and, if there is a test split, "test_images"
    labels: Mapping[str, list[int] | None]
    passed_over: int = 0  # files of other types

    @property
    def counts(self) -> dict[str, int]:
        """The number of images in `images` and, if they are given, in `test_images`."""
        return {name: len(files) for name, files in self.files.items()}

    def stored(self) -> str:
        """The size of the first image, which the others need not have."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shape = decode(self.files["images"][0], None, None).shape
        return "the first stored as " + "×".join(map(str, shape))

    def is_plain(self, image_size: int | None, channels: int | None) -> bool:
        """False: each image must be decoded."""
        return False

    def read_labels(self) -> np.ndarray | None:
        """The labels int32 [N] of `images`, if they have any."""
        labels = self.labels["images"]
        return None if labels is None else np.array(labels, np.int32)

    def digest(self) -> str:
        """SHA-256 of the files' names and contents."""
        digest = hashlib.sha256()
        for files in self.files.values():
            for file in files:
                digest.update(os.fsencode(file.relative_to(self.path)) + b"\0")
                digest.update(_sha256(file).encode())
        return digest.hexdigest()

    def read(self, image_size: int | None, channels: int | None) -> dict[str, np.ndarray]:
        """The arrays by their names: images uint8 [N, H, W, C], labels int32 [N].

        Raises:
          UserError: for a damaged file, for images that differ in size or do not fit in memory.
        """
        with warnings.catch_warnings():  # Pillow's, about files that it then reads or refuses
            warnings.simplefilter("ignore")
            first = next(iter(self.files.values()))[0]
            shape = decode(first, image_size, channels).shape
            check_shape(shape, repr(str(first)))
            check_memory(sum(self.counts.values()) * int(np.prod(shape)), repr(str(self.path)))
            arrays = {}
            for name, files in self.files.items():

                def one(index: int, files: list[Path] = files) -> np.ndarray:
                    image = decode(files[index], image_size, channels)
                    if image.shape != shape:
                        raise _differing(first, shape, files[index], image.shape)
                    return image

                arrays[name] = stack(len(files), shape, one, self.path.resolve().name)
                if (labels := self.labels[name]) is not None:
                    arrays[name.replace("images", "labels")] = np.array(labels, np.int32)
        return arrays


def open_folder(path: Path) -> Folder:
    """The images in the folder at `path`, of which only the names are read.

    Raises:
      UserError: if there are none, if they are neither in classes nor all without, or if the splits differ.
    """
    splits = [name for name in ("train", "test") if os.path.isdir(path / name)]
    if len(splits) == 1:
        raise UserError(
            f"{str(path)!r} has a subfolder '{splits[0]}' and not both 'train' and 'test': add the other, or pass "
            f"{str(path / splits[0])!r} to have a test split held out of it."
        )
    if splits and (loose := next(_images(path, below=False), None)):
        raise UserError(f"{str(loose)!r} lies beside 'train' and 'test': move it into one of them.")
    roots = {"images": path / "train", "test_images": path / "test"} if splits else {"images": path}
    found = {name: _classes(root) for name, root in roots.items()}
    if len({tuple(classes) for classes in found.values()}) > 1:
        one, other = (", ".join(classes) or "none" for classes in found.values())
        raise UserError(
            f"{str(path)!r}: 'train' has the classes {one} and 'test' {other}: they must be the same."
        )
    return Folder(
        path,
        {name: [file for files in classes.values() for file in files] for name, classes in found.items()},
        {
            name: None
            if "" in classes
            else [label for label, files in enumerate(classes.values()) for _ in files]
            for name, classes in found.items()
        },
        sum(_others(root) for root in roots.values()),
    )


def _classes(root: Path) -> dict[str, list[Path]]:
    """The images by class, in order; by "" if they have none."""
    loose = list(_images(root, below=False))
    folders = [folder for folder in _listed(root) if os.path.isdir(folder)]
    seen = frozenset({os.path.realpath(root)})
    classes = {folder.name: files for folder in folders if (files := list(_images(folder, seen=seen)))}
    if loose and classes:
        raise UserError(
            f"{str(root)!r} holds images itself ({loose[0].name!r}) and in subfolders ({next(iter(classes))!r}): "
            "put each into a subfolder, its class, or all into the folder, without classes."
        )
    if not loose and not classes:
        raise UserError(f"{str(root)!r} holds no images: it must hold files .png, .jpg or .jpeg.")
    return {"": loose} if loose else classes


def _images(folder: Path, *, below: bool = True, seen: frozenset[str] = frozenset()) -> Iterator[Path]:
    """The images in the folder and, if wanted, below it, sorted; none in a folder of `seen`.

    These are the folders above: a link may lead in a circle.
    """
    if (real := os.path.realpath(folder)) in seen:
        return
    for path in _listed(folder):
        if os.path.isdir(path):
            if below:
                yield from _images(path, seen=seen | {real})
        elif path.suffix.lower() in SUFFIXES:
            yield path


def _others(folder: Path, seen: frozenset[str] = frozenset()) -> int:
    """How many files of other types are in the folder and below it."""
    if (real := os.path.realpath(folder)) in seen:
        return 0
    count = 0
    for path in _listed(folder):
        if os.path.isdir(path):
            count += _others(path, seen | {real})
        else:
            count += path.suffix.lower() not in SUFFIXES
    return count


def _listed(folder: Path) -> list[Path]:
    """What is in the folder and not hidden, sorted by name."""
    try:
        return sorted(
            (path for path in folder.iterdir() if not path.name.startswith(".")), key=lambda p: p.name
        )
    except OSError as error:
        raise UserError(f"{str(folder)!r} cannot be read ({error.strerror}).") from None


def _sha256(file: Path) -> str:
    """The file's SHA-256; a pipe, which would be waited for in vain, is refused before it is opened."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise UserError(f"{str(file)!r} is a pipe or a device, and no image: remove it from the folder.")
        return sha256_of_file(file)
    except OSError as error:
        raise UserError(
            f"{str(file)!r} cannot be read ({error.strerror}): remove it from the folder."
        ) from None


def _differing(one: Path, shape: tuple[int, ...], other: Path, other_shape: tuple[int, ...]) -> UserError:
    """The error for two images that cannot stand in one array."""
    names = (
        f"{str(one)!r} is {'×'.join(map(str, shape))} and {str(other)!r} {'×'.join(map(str, other_shape))}"
    )
    remedy = "--image_size=32, for one" if shape[:2] != other_shape[:2] else "--channels=1 or --channels=3"
    return UserError(f"images differ: {names} (height×width×channels): pass {remedy}, to make them alike.")
