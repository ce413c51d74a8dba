"""From a dataset's original files to a dataset that TFDS prepared and the arrays decoded from it.

TFDS does the work (checksums, download, storage), but its stock builders need TensorFlow to read and encode
images; a subclass that reads with NumPy and yields PIL images does not. TFDS is imported inside the functions:
that takes a second, and a start from the cache needs none of it.
"""

import contextlib
import errno
import io
import os
import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from gan_jax.data.originals import SPLITS, Originals, damaged
from gan_jax.errors import UserError


def prepare_originals(
    name: str, originals: Originals, files: Mapping[str, bytes], root: Path, bar: tqdm
) -> None:
    """Prepares the set in `root/name/<version>` from `files`, and what is not among them from a download.

    Its arrays go to `root/name/decoded` at once: reading back what PNG keeps without loss would double the time.

    Raises UserError for a download that fails or arrives damaged, OSError for a disk that cannot be written.
    """
    manual_dir = root / "originals"
    manual_dir.mkdir()
    for file, data in files.items():
        (manual_dir / file).write_bytes(data)
    with _quiet_tfds() as tfds:
        builder = _builder(tfds, name, originals, files, root, bar)
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
    for split, (images, labels) in builder.arrays.items():
        _save(root / name, split, images, labels)


def decode_originals(name: str, folder: Path, bar: tqdm) -> None:
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


def _builder(
    tfds: Any, name: str, originals: Originals, local: Collection[str], root: Path, bar: tqdm
) -> Any:
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
                files = {}
                for file, sha256 in originals.sha256.items():
                    bar.set_description(f"{name}: {'reading' if file in local else 'downloading'} {file}")
                    files[file] = _fetch(dl_manager, originals.url + file, sha256)
                bar.set_description(f"{name}: preparing")
                self.arrays = originals.parse(files)
                bar.total = sum(len(images) for images, _ in self.arrays.values())
                return {
                    split: self._generate_examples(split, *arrays) for split, arrays in self.arrays.items()
                }

            def _generate_examples(self, split: str, images: np.ndarray, labels: np.ndarray) -> Iterator[Any]:
                for index, (image, label) in enumerate(zip(images, labels, strict=True)):
                    # A third axis of 1 is none that PIL knows.
                    pixels = image[..., 0] if image.shape[-1] == 1 else image
                    example = {"image": Image.fromarray(pixels), "label": int(label)}
                    if "id" in self.info.features:  # CIFAR's have a name
                        example["id"] = f"{split}_{index:05d}"
                    yield index, example
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
        raise damaged(url, expected, actual, remedy) from None
    except (OSError, util.DownloadError) as error:
        raise UserError(f"{url} cannot be downloaded ({' '.join(str(error).split())}). {remedy}") from None


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
