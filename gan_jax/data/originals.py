"""The original files of a dataset: where they come from, their checksums and their formats."""

import dataclasses
import gzip
import hashlib
import http.client
import os
import struct
import tarfile
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from gan_jax.errors import UserError
from gan_jax.storage import content_of, expanded, opened

Labelled = tuple[np.ndarray, np.ndarray]

SPLITS = ("train", "test")
MNIST_FILES = {  # split -> the names of its two original files, in MNIST's format
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}


def from_idx(files: Mapping[str, Path]) -> dict[str, Labelled]:
    """Images [N, H, W, 1] and labels [N] of each split, out of the four files of MNIST's format."""
    arrays = {}
    for split, (images, labels) in MNIST_FILES.items():
        arrays[split] = _idx(files[images])[..., None], _idx(files[labels])
    return arrays


def _idx(path: Path) -> np.ndarray:
    """The array in a gzip file of LeCun's IDX format: a magic number with the rank, sizes, uint8 values."""
    data = gzip.decompress(content_of(path))
    shape = struct.unpack_from(f">{data[3]}I", data, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def from_cifar(files: Mapping[str, Path]) -> dict[str, Labelled]:
    """Images [N, 32, 32, 3] and labels [N] of each split, out of CIFAR-10's one archive.

    Its records are a byte for the label and 32×32 for each of red, green and blue.
    """
    [path] = files.values()
    batches = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}
    found = {}
    with opened(path) as file, tarfile.open(fileobj=file) as archive:
        for member in archive:  # in one pass: to go back in a gzip file is to decompress it from its start
            if content := archive.extractfile(member):
                found[Path(member.name).stem] = content.read()
    arrays = {}
    for split, names in batches.items():
        joined = b"".join(found[name] for name in names)
        records = np.frombuffer(joined, np.uint8).reshape(-1, 1 + 3 * 32 * 32)
        images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        arrays[split] = np.ascontiguousarray(images), records[:, 0]
    return arrays


@dataclasses.dataclass(frozen=True)
class Originals:
    """The original files of a set, and where they come from."""

    builder: str  # the class in tfds.image_classification
    url: str
    sha256: Mapping[str, str]  # file name -> checksum, the one that TFDS registers
    parse: Callable[[Mapping[str, Path]], dict[str, Labelled]] = from_idx  # files by name -> arrays by split
    shipped: Path | None = None  # the folder of this package that holds them
    gzip_time: Mapping[str, int] = dataclasses.field(default_factory=dict)  # prefix -> time in its header

    def read(self, path: Path, remedy: str) -> bytes:
        """The original file at `path`; UserError, ending in `remedy`, unless its SHA-256 is the right one.

        Debian strips the name and the time from a gzip file's header, which changes its checksum and nothing
        else. Where both are known they are put back, so that the original's checksum decides there too.
        """
        try:
            data = content_of(path)
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}). {remedy}") from None
        candidates = [data]
        if time := self.gzip_time.get(path.name.split("-")[0]):
            header = b"\x1f\x8b\x08\x08" + struct.pack("<I", time) + b"\x00\x03"
            candidates.append(header + path.stem.encode() + b"\x00" + data[10:])
        expected = self.sha256[path.name]
        for candidate in candidates:
            if hashlib.sha256(candidate).hexdigest() == expected:
                return candidate
        raise damaged(path, expected, hashlib.sha256(data).hexdigest(), remedy)

    def given(self, name: str, data_dir: str | Path | None) -> dict[str, bytes]:
        """The original files found in `data_dir` or its subfolder `name`, each verified.

        Raises UserError if there are none, or if one is damaged.
        """
        if data_dir is None:
            return {}
        folder = expanded(data_dir)
        if not os.path.isdir(folder):
            what = "is a file" if os.path.exists(folder) else "does not exist"
            raise UserError(
                f"data_dir '{data_dir}' {what}: pass --data_dir=DIR, a folder with the original files."
            )
        found = {
            file: self.read(place / file, f"Replace it with {self.url}{file} or leave --data_dir out.")
            for place in (folder, folder / name)  # the subfolder's, where both have it
            for file in self.sha256
            if os.path.lexists(place / file)
        }
        if not found:  # else other images than those that were meant would be used in silence
            raise UserError(
                f"data_dir '{data_dir}' holds none of the original files of {name} ({', '.join(self.sha256)}): "
                f"put them there from {self.url}, or leave --data_dir out."
            )
        return found

    def gather(self, name: str, given: Mapping[str, bytes], data_dir: str | Path | None) -> dict[str, bytes]:
        """The files at hand: those given, then those shipped. The rest, if any, is in reach of a download.

        Raises UserError if a file is missing and the network too, or if a shipped one is damaged.
        """
        missing = [file for file in self.sha256 if file not in given]
        if self.shipped:
            remedy = f"Reinstall gan_jax, or put the file from {self.url} into DIR and pass --data_dir=DIR."
            return {**given, **{file: self.read(self.shipped / file, remedy) for file in missing}}
        if missing:  # TFDS itself would retry for minutes before it gave up
            try:
                request = urllib.request.Request(self.url + missing[0], method="HEAD")
                urllib.request.urlopen(request, timeout=10).close()
            except (OSError, http.client.HTTPException) as error:
                reason = " ".join(str(getattr(error, "reason", error)).split())
                raise UserError(
                    f"dataset '{name}' is not on this machine and cannot be downloaded ({reason}). Put "
                    f"{', '.join(missing)} from {self.url} into {data_dir or 'a folder DIR'} "
                    f"and pass --data_dir={data_dir or 'DIR'}."
                ) from None
        return dict(given)


def damaged(file: object, expected: str, actual: str, remedy: str) -> UserError:
    """The error for an original file, at a path or a URL, whose SHA-256 is not the expected one."""
    return UserError(
        f"{file} is damaged or another dataset's: its SHA-256 is {actual}, expected {expected}. {remedy}"
    )
