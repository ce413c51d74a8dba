"""Options: dataclass fields that carry their default, help, rule and role, checked wherever they are built.

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Options:
        seed: int = option(0, "Seed of the latents.", SEED)
        __post_init__ = check

`check` turns what was given into the field's type and raises `UserError` for what the rule does not allow;
`cli.parse` makes the command line of the same fields. So a rule stands at its field and nowhere else.
"""

import dataclasses
import inspect
import math
import numbers
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from gan_jax.errors import UserError, unknown


class _Unset:
    def __repr__(self) -> str:
        return "<default>"


UNSET: Any = _Unset()

# What a field of a run's config is to a run that goes on. "system": it must stay. "rate": it must stay in a workdir,
# and `fit` may change it on the way. "length": it may change unless a schedule counts on it. "free": it changes no
# number.
Role = Literal["system", "rate", "length", "free"]


class Rule(NamedTuple):
    """What values a field may have.

    words: what is allowed, as it follows "it must be".
    convert: a value -> the same in the field's type; raises ValueError for one that is not allowed.
    read: the text of a command line -> a value for `convert`; raises ValueError, too.
    metavar: what stands for the value in --help, or a function that says so.
    """

    words: str
    convert: Callable[[Any], Any]
    read: Callable[[str], Any] = str
    metavar: str | Callable[[], str] = "TEXT"


class Option(NamedTuple):
    """A field's metadata: its real default (`dataclasses.field` has UNSET there), and all that is known of it.

    also: what other programs call it, for the suggestion after an unknown flag. alone: what the flag means without a
    value, for one that may stand so. commas: whether texts of `many` may be several, separated by commas.
    """

    default: Any
    help: str
    rule: Rule
    role: Role
    many: bool
    also: tuple[str, ...]
    alone: str | None = None
    commas: bool = False


REQUIRED: Any = _Unset()  # the default of an option that has none


def _checked(allowed: Callable[[Any], bool], value: Any) -> Any:
    if not allowed(value):
        raise ValueError
    return value


def whole(low: int, high: int) -> Rule:
    """Whole numbers from low to high."""

    def convert(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise ValueError
        return _checked(lambda x: low <= x <= high, int(value))

    return Rule(f"a whole number from {low} to {high}", convert, int, "INT")


def real(words: str, allowed: Callable[[float], bool]) -> Rule:
    """Finite numbers that are allowed. What is tested is the float32 value, in which training computes."""

    def convert(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise ValueError
        with np.errstate(over="ignore"):
            rounded = float(np.float32(value))
        _checked(lambda x: math.isfinite(x) and allowed(x), rounded)
        return float(value)

    return Rule(words, convert, float, "FLOAT")


def optional(rule: Rule) -> Rule:
    """What the rule allows, or None, for a field whose default is another."""
    return rule._replace(convert=lambda value: None if value is None else rule.convert(value))


def choice(
    kind: str, names: Mapping[str, Any] | Iterable[str], hint: Callable[[str], str | None] = lambda name: None
) -> Rule:
    """A name out of a registry, which may still grow. `hint` may say of a wrong name what it is instead."""

    def convert(value: Any) -> str:
        if not isinstance(value, str) or value not in names:
            raise unknown(kind, value, names, hint(str(value)))
        return value

    return Rule("", convert, metavar=lambda: "{" + ",".join(names) + "}")


def one_of(*allowed: int) -> Callable[[Any], int]:
    """A rule's `convert` for a few whole numbers."""
    return lambda value: int(_checked(lambda x: not isinstance(x, bool) and x in allowed, value))


def _text(value: Any) -> str:
    text = os.fspath(value)
    return _checked(bool, text) if isinstance(text, str) else _checked(bool, None)


def _path(value: Any) -> str:
    text = _text(value)
    _checked(
        lambda name: b"\0" not in name, os.fsencode(text)
    )  # raises a ValueError for what no file is called
    return text


TEXT = Rule("text that is not empty", _text)
PATH = Rule("a path", _path, metavar="PATH")
FLAG = Rule("true or false", lambda value: _checked(lambda x: type(x) is bool, value))
COUNT = whole(1, 2**31 - 1)
SMALL_COUNT = whole(1, 10_000)
MEMBER = whole(0, 2**31 - 1)
SEED = whole(0, 2**32 - 1)
POSITIVE = real("greater than 0", lambda x: x > 0)
OR_OFF = real("0 (off) or greater", lambda x: x >= 0)
DECAY = real("at least 0 and below 1", lambda x: 0 <= x < 1)


SCALE = whole(1, 64)
MOST_IN_A_ROW = 1000


def _grid(value: Any) -> tuple[int, int]:
    parts = map(int, value.lower().split("x")) if isinstance(value, str) else value
    rows, columns = (whole(1, MOST_IN_A_ROW).convert(x) for x in parts)
    return rows, columns


GRID = Rule(f"ROWSxCOLUMNS, as in 4x8, each from 1 to {MOST_IN_A_ROW}", _grid, metavar="RxC")


def _checkpoint(value: Any) -> Any:
    return value if value == "best" else whole(0, 2**31 - 1).convert(value)


CHECKPOINT = Rule(
    "the step of a checkpoint, or best",
    _checkpoint,
    lambda text: text if text == "best" else int(text),
    "STEP",
)


def option(
    default: Any,
    help: str,
    rule: Rule,
    *,
    role: Role = "system",
    many: bool = False,
    also: Iterable[str] = (),
    alone: str | None = None,
    commas: bool = False,
) -> Any:
    """A dataclass field. Where the default is None the value may be None as well; `many` makes it a tuple."""
    metadata = {"option": Option(default, help, rule, role, many, tuple(also), alone, commas)}
    return dataclasses.field(default=UNSET, metadata=metadata)


def options_of(kind: Any) -> dict[str, Option]:
    """The options of a dataclass, or of its instance, by name; those of its bases first, in their order."""
    kind = kind if isinstance(kind, type) else type(kind)
    found = {field.name: field.metadata["option"] for field in dataclasses.fields(kind)}
    order = [name for base in (*kind.__mro__[1:], kind) for name in inspect.get_annotations(base)]
    return {name: found[name] for name in dict.fromkeys(order) if name in found}


def check(options: Any, defaults: Mapping[str, Any] | None = None) -> None:
    """Fill in what was not given, from `defaults` first, and check all of a dataclass that is being built.

    Raises:
      UserError: for a value that is not allowed, or an option without a default that was not given.
    """
    check_only(options, options_of(options), defaults)


def check_only(options: Any, names: Iterable[str], defaults: Mapping[str, Any] | None = None) -> None:
    """`check` of some options; the others stay as they are given, or UNSET."""
    for name in names:
        found = options_of(options)[name]
        value = getattr(options, name)
        if value is UNSET:
            value = (defaults or {}).get(name, found.default)
        if value is REQUIRED:
            raise UserError(f"--{name} is missing.")
        if value is not None or found.default is not None:
            value = _converted(name, value, found)
        object.__setattr__(options, name, value)


def _converted(name: str, value: Any, found: Option) -> Any:
    if not found.many:
        return converted(name, value, found.rule)
    several = not isinstance(value, str | os.PathLike) and isinstance(value, Iterable)
    values = list(value) if several else [value]
    if found.commas:
        values = apart(values)
    return tuple(converted(name, x, found.rule) for x in values)


def apart(values: Iterable[Any]) -> list[Any]:
    """The values, of which a text may hold several between commas, or none."""
    split = lambda x: [part.strip() or part for part in x.split(",")] if isinstance(x, str) else [x]
    return [part for x in values for part in split(x) if part != ""]


def converted(name: str, value: Any, rule: Rule) -> Any:
    """The value in the field's type. Raises `UserError` if the rule does not allow it."""
    try:
        return rule.convert(value)
    except UserError:
        raise
    except (ValueError, TypeError, OverflowError):
        if isinstance(value, str) and _reads_number(rule, value):
            raise UserError(f"--{name}={value!r} is not allowed: it must be a number, not text.") from None
        raise not_allowed(name, value, rule) from None


def _reads_number(rule: Rule, text: str) -> bool:
    try:
        return isinstance(rule.read(text), int | float)
    except ValueError:
        return False


def not_allowed(name: str, value: object, rule: Rule) -> UserError:
    """The error for a value that a rule does not allow."""
    return UserError(f"--{name}={value} is not allowed: it must be {rule.words}.")
