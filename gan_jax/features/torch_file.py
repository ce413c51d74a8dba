"""Read a PyTorch state dict from a .pth file without PyTorch and without unpickling.

Both of PyTorch's formats are pickles beside raw numbers. Unpickling runs whatever the file says, so here the
pickle's opcodes are only parsed (`pickletools`) and interpreted on a stack of plain values. The few names
that a state dict needs stand for functions of this file; anything else that the file asks for is refused.
"""

import io
import math
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from gan_jax.errors import UserError

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the first value in files from before PyTorch 1.6


class _Storage(NamedTuple):
    dtype: type
    key: str


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


_CALLABLES: dict[str, Callable] = {
    "torch._utils _rebuild_tensor_v2": lambda *args: _Tensor(*args[:4]),
    "collections OrderedDict": dict,
}
_MARK = object()
# What a damaged file may end in: of ours, of `pickletools` and `zipfile`, which documents little of it.
_DAMAGE: tuple[type[Exception], ...] = (ValueError, struct.error, EOFError, zlib.error, zipfile.BadZipFile)
_DAMAGE += (NotImplementedError, RuntimeError)
_DTYPES = {"torch FloatStorage": np.float32, "torch LongStorage": np.int64}


def _global(stack: list, memo: dict, name: str) -> None:
    if name not in _CALLABLES and name not in _DTYPES:
        raise ValueError(f"it asks for '{name}'")
    stack.append(name)


def _call(stack: list, memo: dict, arg: None) -> None:
    arguments, name = stack.pop(), stack.pop()
    stack.append(_CALLABLES[name](*arguments))


def _persistent(stack: list, memo: dict, arg: None) -> None:
    kind, dtype, key, *_ = stack.pop()
    if kind != "storage":
        raise ValueError(f"it refers to a '{kind}'")
    stack.append(_Storage(_DTYPES[dtype], key))


def _cut(stack: list, at: int) -> list:
    items = stack[at:]
    del stack[at:]
    return items


def _marked(stack: list) -> list:
    items = _cut(stack, len(stack) - stack[::-1].index(_MARK))
    stack.pop()
    return items


def _set_items(stack: list, memo: dict, arg: None) -> None:
    items = _marked(stack)
    stack[-1].update(zip(items[::2], items[1::2], strict=True))


def _set_item(stack: list, memo: dict, arg: None) -> None:
    key, value = _cut(stack, -2)
    stack[-1][key] = value


def _literal(stack: list, memo: dict, arg: Any) -> None:
    stack.append(arg)


_OPCODES: dict[str, Callable[[list, dict, Any], Any]] = {
    "PROTO": lambda stack, memo, arg: None,
    "STOP": lambda stack, memo, arg: None,
    "BININT": _literal,
    "BININT1": _literal,
    "BININT2": _literal,
    "LONG1": _literal,
    "BINUNICODE": _literal,
    "NONE": lambda stack, memo, arg: stack.append(None),
    "NEWTRUE": lambda stack, memo, arg: stack.append(True),
    "NEWFALSE": lambda stack, memo, arg: stack.append(False),
    "EMPTY_DICT": lambda stack, memo, arg: stack.append({}),
    "EMPTY_LIST": lambda stack, memo, arg: stack.append([]),
    "EMPTY_TUPLE": lambda stack, memo, arg: stack.append(()),
    "MARK": lambda stack, memo, arg: stack.append(_MARK),
    "TUPLE": lambda stack, memo, arg: stack.append(tuple(_marked(stack))),
    "TUPLE1": lambda stack, memo, arg: stack.append(tuple(_cut(stack, -1))),
    "TUPLE2": lambda stack, memo, arg: stack.append(tuple(_cut(stack, -2))),
    "TUPLE3": lambda stack, memo, arg: stack.append(tuple(_cut(stack, -3))),
    "APPEND": lambda stack, memo, arg: stack[-2].append(stack.pop()),
    "APPENDS": lambda stack, memo, arg: (items := _marked(stack), stack[-1].extend(items)),
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "BINPUT": lambda stack, memo, arg: memo.update({arg: stack[-1]}),
    "LONG_BINPUT": lambda stack, memo, arg: memo.update({arg: stack[-1]}),
    "BINGET": lambda stack, memo, arg: stack.append(memo[arg]),
    "LONG_BINGET": lambda stack, memo, arg: stack.append(memo[arg]),
    "GLOBAL": _global,
    "REDUCE": _call,
    "BINPERSID": _persistent,
    "BUILD": lambda stack, memo, arg: stack.pop(),  # the modules' version numbers
}


def _interpret(stream: IO[bytes]) -> Any:
    """The value of one pickle; the stream is left just behind it."""
    stack: list = []
    memo: dict = {}
    for opcode, arg, _ in pickletools.genops(stream):
        if opcode.name not in _OPCODES:
            raise ValueError(f"it uses {opcode.name}, which no state dict needs")
        try:
            _OPCODES[opcode.name](stack, memo, arg)
        except (LookupError, TypeError, AttributeError) as error:  # operands that the file has put there
            raise ValueError(f"its {opcode.name} has other operands than a state dict's") from error
    if not stack:
        raise ValueError("it is empty")
    return stack.pop()


def _checked(tensors: Any) -> dict[str, _Tensor]:
    """The state dict's entries, if they are names of tensors."""
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(tensor, _Tensor) for name, tensor in tensors.items()
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
        if not isinstance(tensor.storage, _Storage) or not isinstance(tensor.storage.key, str):
            raise ValueError("a tensor has no storage")
    return tensors


def _resolve(tensor: _Tensor, raw: bytes) -> np.ndarray:
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
        (index,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        folder = index.removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("its numbers are big-endian")
        tensors = _checked(_interpret(io.BytesIO(archive.read(index))))
        names = {f"{folder}data/{tensor.storage.key}" for tensor in tensors.values()}
        if missing := names - set(archive.namelist()):
            raise ValueError(f"it lacks {min(missing)}")
        return {k: _resolve(t, archive.read(f"{folder}data/{t.storage.key}")) for k, t in tensors.items()}


def _read_legacy(stream: IO[bytes]) -> dict[str, np.ndarray]:
    """Three pickles (magic number, version, machine), the state dict, the storages' keys, the storages."""
    if _interpret(stream) != _LEGACY_MAGIC:
        raise ValueError("it starts with another pickle")
    _, _, tensors, keys = (_interpret(stream) for _ in range(4))
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
        content = path.read_bytes()
        return (_read_zip if content.startswith(b"PK") else _read_legacy)(io.BytesIO(content))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    except _DAMAGE as error:
        raise UserError(f"{path} is no PyTorch state dict that can be read: {error}.") from error
