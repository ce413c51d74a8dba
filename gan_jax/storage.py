"""Files and memory: the one place for atomic writes, hashes, locks, damaged .npz files and the cache folder."""

import contextlib
import errno
import fcntl
import hashlib
import io
import lzma
import math
import os
import shutil
import stat
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import numpy as np

from gan_jax.errors import UserError

# What reading a damaged .npz, or something else in its place, may end in: NumPy documents none of it. `SyntaxError`
# and `RecursionError` come of its headers, which are Python literals.
_NPZ_DAMAGE: tuple[type[Exception], ...] = (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile)
_NPZ_DAMAGE += (zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError, SyntaxError, OverflowError)
_NPZ_DAMAGE += (MemoryError, tokenize.TokenError)  # of a deeply nested header


def cache_folder() -> Path:
    """Where all that is computed once is kept: `$XDG_CACHE_HOME/gan_jax`, else `~/.cache/gan_jax`.

    Raises:
      UserError: if there is no home folder either.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "gan_jax"
    except RuntimeError:
        raise UserError(
            "there is no home folder to keep a cache in: set XDG_CACHE_HOME to a folder."
        ) from None


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` at the end: a crash leaves the old file or the new one.

    The process's number is in its name, since two processes may write the same file at once.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}")
    _UNFINISHED.add(new)
    try:
        yield new
        with new.open("rb") as file:
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
        _UNFINISHED.discard(new)


@contextlib.contextmanager
def scratch(beside: Path | None = None) -> Iterator[Path]:
    """An empty folder that is gone afterwards: hidden beside a path whose place it may take, or a temporary one."""
    prefix, place = (None, None) if beside is None else (f".{beside.name}.", beside.parent)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=place) as name:
        folder = Path(name)
        _UNFINISHED.add(folder)
        try:
            yield folder
        finally:
            _UNFINISHED.discard(folder)


_UNFINISHED: set[Path] = set()  # what this process is writing


def remove_unfinished() -> None:
    """Remove what this process is writing, before it ends."""
    for path in list(_UNFINISHED):
        with contextlib.suppress(OSError):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace the file: a crash leaves the old text or the new one."""
    with replacing(path) as new:
        new.write_bytes(content.encode() if isinstance(content, str) else content)


def target(out: str, endings: Mapping[str, str], flag: str = "out") -> Path:
    """The file that --out names, ~ expanded; to be checked before any work. `endings` -> what each stands for.

    Raises:
      UserError: for another ending, for a folder, and where there is no folder that can be written to.
    """
    path = expanded(out)
    if path.is_dir():
        raise UserError(f"--{flag}={out} is a folder: give a file in it.")
    if path.suffix not in endings:
        allowed = " or ".join(f"{ending} ({words})" for ending, words in endings.items())
        raise UserError(f"--{flag}={out} is not allowed: it must end in {allowed}.")
    if not (folder := path.absolute().parent).is_dir():
        raise UserError(f"--{flag}={out} cannot be written: there is no folder {folder}.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"--{flag}={out} cannot be written: {folder} allows no new files.")
    return path


class NotRegular(OSError):
    """Something else than a regular file has a file's name: a folder, a pipe, a device."""


def opened(path: Path) -> io.BufferedReader:
    """The file at `path`, to be read. Raises `NotRegular` for what is none: a pipe would wait for ever."""
    return open(_regular(path, os.O_RDONLY), "rb")


def _regular(path: Path, flags: int) -> int:
    number = os.open(path, flags | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise NotRegular(errno.EINVAL, "it is no regular file", str(path))
    return number


def content_of(path: Path) -> bytes:
    """All that is in the file at `path`. Raises OSError as `opened` does."""
    with opened(path) as file:
        return file.read()


def expanded(path: str | Path) -> Path:
    """The path with ~ as the home folder; an unknown user's stays as it is, as in a shell."""
    return Path(os.path.expanduser(path))  # the method would raise


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of the arrays' names, types, shapes and contents, by name, in hex: in whatever order they are given."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items(), key=lambda item: str(item[0])):
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def sha256_of_data(images: np.ndarray, labels: np.ndarray | None) -> str:
    """SHA-256 of a train split, images or points, and integers [N]: what a run and a classifier know it by."""
    return sha256_of_arrays(
        {"images": images} | ({} if labels is None else {"labels": labels.astype(np.int32)})
    )


def not_finite(arrays: Mapping[str, np.ndarray]) -> str | None:
    """The name of the first of these arrays that has a NaN or an infinite number; None if none has."""
    lost = lambda array: np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all()
    return next((name for name, array in arrays.items() if lost(array)), None)


class Damaged(Exception):
    """A file's content is not what such a file holds; the message says why, in a few words."""


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The content of an .npz file of these arrays; the same arrays give the same bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def arrays_of(content: bytes) -> dict[str, np.ndarray]:
    """The arrays that `npz_bytes` made a content of."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return dict(file)


def read_npz(path: Path, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays in an .npz file, which is treated as input that may be wrong: nothing of it is executed.

    Args:
      path: the file.
      names: those wanted, of which the file may lack some; all of them if None.

    Raises:
      Damaged: if it holds anything else.
      OSError: if it cannot be read.
    """
    with opened(path) as stream:  # opened here, since np.load leaves a damaged file open
        try:
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise Damaged("it holds a single array, and no archive of named ones")
            assert file.zip is not None
            entries = file.zip.infolist()
            wanted = [e.file_size for e in entries if names is None or e.filename[:-4] in names]
            if sum(wanted) > available_memory():  # of a few kilobytes, perhaps
                raise Damaged(f"its arrays take {sum(wanted) / 1e9:.1f} GB, more than the memory has left")
            found = {name: file[name] for name in file.files if names is None or name in names}
            if strange := [name for name, array in found.items() if not isinstance(array, np.ndarray)]:
                raise Damaged(f"'{strange[0]}' in it is no array")
            return found
        except _NPZ_DAMAGE as error:
            raise _damaged(error) from error


def npz_headers(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and type of each array in an .npz file, none of which is loaded.

    Raises:
      Damaged: if it holds anything else, or if an array's header does not fit the size of its data.
      OSError: if it cannot be read.
    """
    with opened(path) as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
                return {entry.filename.removesuffix(".npy"): _header(archive, entry) for entry in entries}
        except _NPZ_DAMAGE as error:
            raise _damaged(error) from error


def _header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> tuple[tuple[int, ...], np.dtype]:
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):  # NumPy writes the third only for fields with names
            raise Damaged(f"array '{entry.filename}' has fields")
        parts = np.lib.format
        read = parts.read_array_header_1_0 if version == (1, 0) else parts.read_array_header_2_0
        shape, _, dtype = read(file)
        declared, held = math.prod(shape) * dtype.itemsize, entry.file_size - file.tell()
    if dtype.hasobject:
        raise Damaged(f"'{entry.filename}' holds Python objects, which are not read")
    if declared != held:
        raise Damaged(f"'{entry.filename}' declares {declared} bytes of data and holds {held}")
    return shape, dtype


def _damaged(error: Exception) -> Damaged:
    return Damaged(" ".join(str(error).split())[:100] or type(error).__name__)


@contextlib.contextmanager
def locked(path: Path, *, waiting: Callable[[], object] | None = None) -> Iterator[None]:
    """Hold the lock file `path`, made if need be; the system takes it from a killed process.

    Where another process holds it, `waiting` is called and the lock waited for; without `waiting`, a BlockingIOError
    is raised. Raises `NotRegular` for what is no file, and leaves what is in one: it may be a link to another.
    """
    with open(_regular(path, os.O_RDWR | os.O_CREAT), "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is None:
                raise
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def available_memory() -> int:
    """Bytes of this machine's memory that a program may still take; what Linux says, else half of all."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
