"""Datasets by name, as uint8 images and their labels, in the order of the original files.

The first load of a set prepares it through TFDS and keeps it, together with the decoded arrays, under
`$XDG_CACHE_HOME/gan_jax/datasets` (else `~/.cache/gan_jax/datasets`); the next takes the arrays from there
and imports neither TFDS nor TensorFlow. No other folder is written to; `~/tensorflow_datasets` is left alone.

    <name>/<version>/        what TFDS prepared; `tfds.data_source(name, data_dir=...)` reads it, too
    <name>/decoded/*.npy     the arrays
    <name>/checksums.json    SHA-256 of the originals, of what was prepared and of the arrays, written last
    .<name>.lock             held by the one process that writes
    .<name>.preparing/       its work in progress; whoever holds the lock next removes what a killed one left
"""

import contextlib
import functools
import hashlib
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from tqdm import tqdm

from gan_jax.data import own, prepare
from gan_jax.data.prepare import FILES, SPLITS, Originals
from gan_jax.errors import UserError, nearest, unknown
from gan_jax.storage import cache_folder, locked, sha256_of_file, write_atomically

Arrays = tuple[np.ndarray, np.ndarray]
Array = TypeVar("Array", np.ndarray, jax.Array)


# (split, data_dir) -> images uint8 [N, H, W, C] and labels int32 [N].
Loader = Callable[[str, str | Path | None], Arrays]


def load(
    name: str | Path,
    split: str,
    data_dir: str | Path | None = None,
    *,
    image_size: int | None = None,
    channels: int | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Images uint8 [N, H, W, C] and labels int32 [N] of a split, prepared and cached at the first call.

    Args:
      name: one of `DATASETS`, or the path of an .npz file or a folder of images, whose labels may be None; see
        `gan_jax.data.own`.
      split: "train" or "test".
      image_size, channels: resize own images to this height and width, and make them grey (1) or coloured (3).
      data_dir: a folder with the four original files, directly or in its subfolder `name`; it is only read.
        Its files are checked at each call. Those it lacks are taken from the package or downloaded.

    Raises:
      UserError: an unknown name or split, no folder `data_dir`, an original that is damaged or can't be had,
        or a cache folder that cannot be written.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    if name not in DATASETS:
        if data_dir is not None:
            raise UserError(
                f"--data_dir={data_dir} is for the registered sets, not for own images: leave it out."
            )
        return own.load(_existing(name), split, image_size, channels)
    if image_size is not None or channels is not None:
        raise UserError(f"--image_size and --channels are for own images: {name} is taken as it is.")
    return DATASETS[str(name)](split, data_dir)


def _existing(name: str | Path) -> Path:
    """The path of own images. Raises `UserError` if there is none, and `name` is no registered set."""
    path = Path(os.path.expanduser(name))
    if path.exists():
        return path
    if path.suffix == ".npz" or len(path.parts) > 1:
        raise UserError(
            f"--dataset={name} does not exist: give a FILE.npz, a FOLDER, or one of {', '.join(DATASETS)}."
        )
    near = nearest(str(name), DATASETS)
    hint = f"Did you mean '{near}'? " if near else ""
    raise unknown("dataset", name, DATASETS, f"{hint}Own images are given as a FILE.npz or a FOLDER.")


def dataset_name(name: str | Path) -> str:
    """A short name for titles and folders: a registered one, or that of a file or a folder."""
    return str(name) if name in DATASETS else Path(os.path.abspath(os.path.expanduser(name))).stem


def held_out_note(name: str | Path, image_size: int | None = None, channels: int | None = None) -> str | None:
    """A sentence that says which images of own ones `load` holds out as its test split; None if it holds out none."""
    return None if name in DATASETS else own.held_out_note(_existing(name), image_size, channels)


def to_float(images: Array) -> Array:
    """uint8 images [...] as float32 in [-1, 1], NumPy or JAX as they came."""
    return images.astype(np.float32) / 127.5 - 1


def to_uint8(images: ArrayLike) -> jax.Array:
    """Images [...] in [-1, 1] as uint8, rounded; what lies outside is clipped. Inverts `to_float`."""
    # float32 first: a bfloat16 holds only 8 of the bits that the rounding needs.
    scaled = (jnp.asarray(images, jnp.float32) + 1) * 127.5
    return jnp.clip(jnp.round(scaled), 0, 255).astype(jnp.uint8)


def _load_prepared(originals: Originals, name: str, split: str, data_dir: str | Path | None) -> Arrays:
    """A split of the set made from `originals`: out of the cache, rebuilt first unless all is well there."""
    given = _given(originals, name, data_dir)
    root = cache_folder() / "datasets"
    arrays = _cached(root / name, originals, split)
    if arrays is None:
        with _lock(root, name):
            arrays = _cached(root / name, originals, split)  # another process may just have made it
            if arrays is None:
                _rebuild(root, name, originals, given, data_dir)
                arrays = _cached(root / name, originals, split)
    if arrays is None:
        raise UserError(f"{root / name} changed or does not hold what was written to it: check that disk.")
    return arrays


def _given(originals: Originals, name: str, data_dir: str | Path | None) -> dict[str, bytes]:
    """The original files found in `data_dir`, each verified."""
    if data_dir is None:
        return {}
    folder = Path(os.path.expanduser(data_dir))  # where the method would raise for an unknown user
    if not os.path.isdir(folder):
        what = "is a file" if os.path.exists(folder) else "does not exist"
        raise UserError(
            f"data_dir '{data_dir}' {what}: pass --data_dir=DIR, a folder with the original files."
        )
    folder = folder / name if os.path.isdir(folder / name) else folder
    if not any(os.path.lexists(folder / file) for file in originals.sha256):
        raise UserError(
            f"data_dir '{data_dir}' holds none of {name}'s original files ({', '.join(originals.sha256)}): put them "
            "there, or leave --data_dir out."
        )
    return {
        file: originals.read(folder / file, f"Replace it with {originals.url}{file} or leave --data_dir out.")
        for file in originals.sha256
        if os.path.lexists(folder / file)
    }


def _cached(folder: Path, originals: Originals, split: str) -> Arrays | None:
    """The decoded arrays, if they and the prepared set are those whose checksums were recorded."""
    checksums = _recorded(folder, originals)
    if not _intact(folder, checksums["prepared"]):
        return None
    arrays = []
    for part in ("images", "labels"):
        file = f"decoded/{split}_{part}.npy"
        try:
            data = (folder / file).read_bytes()
        except OSError:
            return None
        if hashlib.sha256(data).hexdigest() != checksums["decoded"].get(file):
            return None
        arrays.append(np.load(io.BytesIO(data), allow_pickle=False))
    return arrays[0], arrays[1]


def _recorded(folder: Path, originals: Originals) -> dict[str, dict[str, str]]:
    """The checksums recorded for the set; none if they are unreadable or speak of other original files."""
    nothing: dict[str, dict[str, str]] = {"originals": {}, "prepared": {}, "decoded": {}}
    try:
        found = json.loads((folder / "checksums.json").read_bytes())
    except (OSError, ValueError):
        return nothing
    if not isinstance(found, dict) or found.get("originals") != dict(originals.sha256):
        return nothing
    return found if all(isinstance(found.get(key), dict) for key in nothing) else nothing


def _intact(folder: Path, checksums: Mapping[str, str]) -> bool:
    try:
        return bool(checksums) and all(
            sha256_of_file(folder / file) == sha for file, sha in checksums.items()
        )
    except OSError:
        return False


def _rebuild(
    root: Path, name: str, originals: Originals, given: Mapping[str, bytes], data_dir: str | Path | None
) -> None:
    """Makes `root/name` anew, or only the decoded arrays if the prepared set is intact. The lock is held."""
    folder, work = root / name, root / f".{name}.preparing"
    intact = _intact(folder, _recorded(folder, originals)["prepared"])
    files = {} if intact else originals.gather(name, given, data_dir)
    bar_format = "{desc}{percentage:3.0f}%|{bar}| {elapsed}"
    with tqdm(desc=name, total=0, bar_format=bar_format, mininterval=0.2, disable=None) as bar:
        if intact:
            prepare.decode(name, folder, bar)
            _record(folder, originals)
            bar.set_description(f"{name}: prepared")
            return
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            prepare.prepare(name, originals, files, work, bar)
            _record(work / name, originals)
            if os.path.lexists(folder):
                folder.rename(work / "replaced")
            (work / name).rename(folder)
            bar.set_description(f"{name}: prepared")
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _record(folder: Path, originals: Originals) -> None:
    """Records all checksums of what is in `folder`: only these make the arrays count."""
    [info] = folder.glob("*/dataset_info.json")
    checksums = {
        "originals": dict(originals.sha256),
        **{
            key: {f"{part.name}/{path.name}": sha256_of_file(path) for path in sorted(part.iterdir())}
            for key, part in {"prepared": info.parent, "decoded": folder / "decoded"}.items()
        },
    }
    write_atomically(folder / "checksums.json", json.dumps(checksums, indent=1))


@contextlib.contextmanager
def _lock(root: Path, name: str) -> Iterator[None]:
    """Holds the set's lock, which the system takes from a killed process; an OSError becomes a UserError."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        waiting = lambda: print(f"waiting for another process that is preparing {name}", file=sys.stderr)
        with locked(root / f".{name}.lock", waiting=waiting):
            yield
    except OSError as error:
        raise UserError(
            f"the cache folder {root} cannot be written to ({error.strerror or error}). "
            "Set the environment variable XDG_CACHE_HOME to a folder that can."
        ) from None


def _originals(name: str, builder: str, url: str, sha256: tuple[str, ...], **more: Any) -> Loader:
    """The registry's entry for a set that comes as MNIST does; the checksums in the order of `FILES`."""
    originals = Originals(builder, url, dict(zip(FILES, sha256, strict=True)), **more)
    return functools.partial(_load_prepared, originals, name)


DATASETS: dict[str, Loader] = {
    "mnist": _originals(  # LeCun, Cortes and Burges 1998
        "mnist",
        "MNIST",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
        shipped=Path(__file__).parent.parent / "assets" / "mnist",
    ),
    "fashion_mnist": _originals(  # Xiao, Rasul and Vollgraf 2017; in Debian: dataset-fashion-mnist
        "fashion_mnist",
        "FashionMNIST",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
        gzip_time={"train": 1504176606, "t10k": 1504176627},  # 31 August 2017, 10:50 UTC
    ),
    "kmnist": _originals(  # Clanuwat et al. 2018
        "kmnist",
        "KMNIST",
        "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        (
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        ),
    ),
}
