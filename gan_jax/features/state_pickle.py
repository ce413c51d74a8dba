"""Read the pickle in a PyTorch state dict without unpickling it.

Unpickling runs whatever the file says, so here the pickle's opcodes are only parsed (`pickletools`) and interpreted on
a stack of plain values. The few names that a state dict needs stand for functions of this file; anything else that
the file asks for is refused.
"""

import pickletools
from collections.abc import Callable
from typing import IO, Any, NamedTuple

import numpy as np


class Storage(NamedTuple):
    """The numbers `key` of a file, of one type."""

    dtype: type
    key: str


class Tensor(NamedTuple):
    """A view of a storage; offset and strides count numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


_CALLABLES: dict[str, Callable] = {
    "torch._utils _rebuild_tensor_v2": lambda *args: Tensor(*args[:4]),
    "collections OrderedDict": dict,
}
_MARK = object()
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
    stack.append(Storage(_DTYPES[dtype], key))


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


def interpret(stream: IO[bytes]) -> Any:
    """The value of one pickle, tensors as `Tensor`; the stream is left just behind it.

    Raises:
      ValueError: for what is in no state dict; `pickletools` raises the same, among others, for what is no pickle.
    """
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
