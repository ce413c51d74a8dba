"""From a dataset's four original files to a dataset that TFDS prepared and the arrays decoded from it.

TFDS does the work (checksums, download, storage), but its stock builders need TensorFlow to read and encode
images; a subclass that reads with gzip and NumPy and yields PIL images does not. TFDS is imported inside the
functions: that takes a second, and a start from the cache needs none of it.
"""

import contextlib
import dataclasses
import errno
import gzip
import hashlib
import http.client
import io
import os
import re
import struct
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from gan_jax.errors import UserError

SPLITS = {  # split -> the names of its two original files
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
FILES = SPLITS["train"] + SPLITS["test"]


@dataclasses.dataclass(frozen=True)
class Originals:
    """The four original files of a set in MNIST's format, and where they come from."""

    builder: str  # the class in tfds.image_classification
    url: str
    sha256: Mapping[str, str]  # file name -> checksum, the one that TFDS registers
    shipped: Path | None = None  # the folder of this package that holds them
    gzip_time: Mapping[str, int] = dataclasses.field(default_factory=dict)  # prefix -> time in its header

    def read(self, path: Path, remedy: str) -> bytes:
        """The original file at `path`; UserError, ending in `remedy`, unless its SHA-256 is the right one.

        Debian strips the name and the time from a gzip file's header, which changes its checksum and nothing
        else. Where both are known they are put back, so that the original's checksum decides there too.
        """
        try:
            data = path.read_bytes()
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
        raise _damaged(path, expected, hashlib.sha256(data).hexdigest(), remedy)

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


def prepare(name: str, originals: Originals, files: Mapping[str, bytes], root: Path, bar: tqdm) -> None:
    """Prepares the set in `root/name/<version>` from `files`, and what is not among them from a download.

    Its arrays go to `root/name/decoded` at once: reading back what PNG keeps without loss would double the time.

    Raises UserError for a download that fails or arrives damaged, OSError for a disk that cannot be written.
    """
    manual_dir = root / "originals"
    manual_dir.mkdir()
    for file, data in files.items():
        (manual_dir / file).write_bytes(data)
    with _quiet_tfds() as tfds:
        builder = _builder(tfds, name, originals, root, bar)
        config = tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
        try:
            builder.download_and_prepare(
                download_dir=root / "downloads", download_config=config, file_format="array_record"
            )
        except RuntimeError as error:  # array_record's writer knows no OSError
            for code in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                if os.strerror(code) in str(error):
                    raise OSError(code, os.strerror(code)) from error
            raise
    for split, (images, labels) in SPLITS.items():
        _save(root / name, split, builder.arrays[images][..., None], builder.arrays[labels])


def decode(name: str, folder: Path, bar: tqdm) -> None:
    """Writes what TFDS prepared in `folder/<version>` to `folder/decoded/<split>_{images,labels}.npy`."""
    [info] = folder.glob("*/dataset_info.json")
    bar.set_description(f"{name}: decoding")
    with _quiet_tfds() as tfds:
        builder = tfds.builder_from_directory(info.parent)
        for split in SPLITS:
            source = builder.as_data_source(split)
            examples: list[dict[str, Any]] = []
            bar.total = max(bar.total, bar.n + len(source))
            while len(examples) < len(source):
                # One record at a time takes three times as long as a batch of them.
                stop = min(len(examples) + 1000, len(source))
                bar.update(stop - len(examples))
                examples += source.__getitems__(range(len(examples), stop))
            images = np.stack([example["image"] for example in examples])
            _save(folder, split, images, np.array([example["label"] for example in examples]))


def _save(folder: Path, split: str, images: np.ndarray, labels: np.ndarray) -> None:
    (folder / "decoded").mkdir(exist_ok=True)
    np.save(folder / "decoded" / f"{split}_images.npy", images, allow_pickle=False)
    np.save(folder / "decoded" / f"{split}_labels.npy", labels.astype(np.int32), allow_pickle=False)


def _builder(tfds: Any, name: str, originals: Originals, root: Path, bar: tqdm) -> Any:
    """TFDS's own builder, with all that would need TensorFlow replaced."""
    from tensorflow_datasets.core import registered

    with registered.skip_registration():  # the name is taken, by the class that this one extends

        class Builder(getattr(tfds.image_classification, originals.builder)):  # type: ignore[misc]
            def _info(self) -> Any:
                info = super()._info()
                # Seeds and fixtures name an image by its place in the original files: keep their order.
                info.as_proto.disable_shuffling = True
                # TFDS has no use for its bucket here, but leaves an empty folder in /tmp each time.
                info.initialize_from_bucket = lambda: None
                return info

            def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
                arrays: dict[str, np.ndarray] = {}
                self.arrays = arrays
                for file, sha256 in originals.sha256.items():
                    bar.set_description(
                        f"{name}: {'reading' if (root / 'originals' / file).exists() else 'downloading'} {file}"
                    )
                    arrays[file] = _idx(_fetch(dl_manager, originals.url + file, sha256))
                bar.set_description(f"{name}: preparing")
                bar.total = sum(len(arrays[images]) for images, _ in SPLITS.values())
                return {
                    split: self._generate_examples(arrays[images], arrays[labels])
                    for split, (images, labels) in SPLITS.items()
                }

            def _generate_examples(self, images: np.ndarray, labels: np.ndarray) -> Iterator[Any]:
                for index, (image, label) in enumerate(zip(images, labels, strict=True)):
                    yield index, {"image": Image.fromarray(image), "label": int(label)}
                    bar.update()

    Builder.name = name
    return Builder(data_dir=root)


def _fetch(dl_manager: Any, url: str, expected: str) -> Path:
    """The file at `url`, from `manual_dir` or downloaded; TFDS verifies its checksum in either case."""
    from tensorflow_datasets.core.download import download_manager, util

    remedy = f"Try again, or put the original from {url} into a folder DIR and pass --data_dir=DIR."
    try:
        return dl_manager.download(url)
    except download_manager.NonMatchingChecksumError as error:
        actual = re.findall(r"\b[0-9a-f]{64}\b", str(error))[-1]  # it is nowhere but in the text
        raise _damaged(url, expected, actual, remedy) from None
    except (OSError, util.DownloadError) as error:
        raise UserError(f"{url} cannot be downloaded ({' '.join(str(error).split())}). {remedy}") from None


def _idx(path: Path) -> np.ndarray:
    """The array in a gzip file of LeCun's IDX format: a magic number with the rank, sizes, uint8 values."""
    data = gzip.decompress(path.read_bytes())
    shape = struct.unpack_from(f">{data[3]}I", data, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def _damaged(file: object, expected: str, actual: str, remedy: str) -> UserError:
    return UserError(
        f"{file} is damaged or another dataset's: its SHA-256 is {actual}, expected {expected}. {remedy}"
    )


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[Any]:
    """TFDS without its four nested progress bars, its prints, its logging and its dependencies' warnings."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        import tensorflow_datasets as tfds
        from absl import logging

        verbosity = logging.get_verbosity()
        logging.set_verbosity(logging.ERROR)
        tfds.disable_progress_bar()
        try:
            yield tfds
        finally:
            logging.set_verbosity(verbosity)
            tfds.enable_progress_bar()
