"""Read a PyTorch state dict from a .pth file without PyTorch and without unpickling.

Both of PyTorch's formats are pickles beside raw numbers. `state_pickle` reads the pickles.
"""

import io
import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from gan_jax.errors import UserError
from gan_jax.features.state_pickle import Storage, Tensor, interpret
from gan_jax.storage import available_memory, content_of

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the first value in files from before PyTorch 1.6
# What a damaged file may end in: of ours, of `pickletools` and `zipfile`, which documents little of it.
_DAMAGE: tuple[type[Exception], ...] = (ValueError, struct.error, EOFError, zlib.error, zipfile.BadZipFile)
_DAMAGE += (NotImplementedError, RuntimeError)


def _checked(tensors: Any) -> dict[str, Tensor]:
    """The state dict's entries, if they are names of tensors."""
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items()
    ):
        raise ValueError("it holds other things than tensors by name")
    for tensor in tensors.values():
        whole = (tensor.shape, tensor.strides, (tensor.offset,))
        sizes_fit = all(
            isinstance(numbers, tuple) and all(type(n) is int and 0 <= n < 2**31 for n in numbers)
            for numbers in whole
        )
        if not sizes_fit or math.prod(tensor.shape) >= 2**31:
            raise ValueError("a tensor has no shape that could be")
        if not isinstance(tensor.storage, Storage) or not isinstance(tensor.storage.key, str):
            raise ValueError("a tensor has no storage")
    _check_memory(sum(8 * math.prod(tensor.shape) for tensor in tensors.values()))
    return tensors


def _check_memory(needed: int) -> None:
    if needed > available_memory() / 2:  # a small file may unpack to it, or name one storage many times
        raise ValueError(f"it would take {needed / 1e9:.1f} GB of memory")


def _resolve(tensor: Tensor, raw: bytes) -> np.ndarray:
    """A tensor's array, C-ordered: strides from a file could reach anywhere in memory."""
    size = math.prod(tensor.shape)
    expected = [math.prod(tensor.shape[i + 1 :]) for i in range(len(tensor.shape))]
    strides = zip(tensor.shape, tensor.strides, expected, strict=True)
    if any(n > 1 and stride != wanted for n, stride, wanted in strides):
        raise ValueError("a tensor is not contiguous")
    dtype = np.dtype(tensor.storage.dtype).newbyteorder("<")
    values = np.frombuffer(raw, dtype, size, tensor.offset * dtype.itemsize)
    return values.reshape(tensor.shape).astype(tensor.storage.dtype)


def _read_zip(stream: IO[bytes]) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(stream) as archive:
        _check_memory(sum(entry.file_size for entry in archive.infolist()))
        (index,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        folder = index.removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("its numbers are big-endian")
        tensors = _checked(interpret(io.BytesIO(archive.read(index))))
        names = {f"{folder}data/{tensor.storage.key}" for tensor in tensors.values()}
        if missing := names - set(archive.namelist()):
            raise ValueError(f"it lacks {min(missing)}")
        return {k: _resolve(t, archive.read(f"{folder}data/{t.storage.key}")) for k, t in tensors.items()}


def _read_legacy(stream: IO[bytes]) -> dict[str, np.ndarray]:
    """Three pickles (magic number, version, machine), the state dict, the storages' keys, the storages."""
    if interpret(stream) != _LEGACY_MAGIC:
        raise ValueError("it starts with another pickle")
    _, _, tensors, keys = (interpret(stream) for _ in range(4))
    tensors = _checked(tensors)
    item_sizes = {t.storage.key: np.dtype(t.storage.dtype).itemsize for t in tensors.values()}
    if not isinstance(keys, list) or {type(key) for key in keys} != {str} or set(keys) != set(item_sizes):
        raise ValueError("its storages are others than its tensors'")
    raw = {}
    for key in keys:
        (count,) = struct.unpack("<q", stream.read(8))
        raw[key] = stream.read(count * item_sizes[key])
    return {k: _resolve(t, raw[t.storage.key]) for k, t in tensors.items()}


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a state dict that `torch.save` wrote, float32 or int64, in either of its formats.

    Raises:
      UserError: for a file that is no such thing, or holds anything beside tensors.
    """
    try:
        # All of it first: of a file, a damaged length field would ask for more memory than there is.
        content = content_of(path)
        return (_read_zip if content.startswith(b"PK") else _read_legacy)(io.BytesIO(content))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    except _DAMAGE as error:
        raise UserError(f"{path} is no PyTorch state dict that can be read: {error}.") from error
