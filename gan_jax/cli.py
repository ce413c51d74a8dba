"""The command line that every `python -m gan_jax.<name>` shares: made of `options`, with one-line errors."""

import argparse
import dataclasses
import inspect
import io
import os
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax

from gan_jax import plugins, stopping
from gan_jax.errors import UserError, nearest
from gan_jax.options import FLAG, PATH, REQUIRED, Option, converted, not_allowed, options_of
from gan_jax.program_cache import use_compilation_cache

__all__ = ["parse", "run", "use_compilation_cache"]

T = TypeVar("T")

_PLUGIN_HELP = (
    "Python files to import first: they register losses, penalties, augmentations, nets, optimizers, schedules, "
    "data sets, metrics."
)


class FromFile(NamedTuple):
    """What --config takes: its help, and what reads the values of such a file, beside the texts that flags give."""

    help: str
    read: Callable[[str, Mapping[str, Any]], Mapping[str, Any]]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> typing.NoReturn:
        raise UserError(message)


class _Switch(argparse.Action):
    """`--name` or `--no_name`."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        setattr(namespace, self.dest, not str(option_string).startswith("--no_"))


def parse(
    kind: type[T],
    args: Sequence[str],
    *,
    prog: str,
    description: str,
    defaults: Callable[[dict[str, Any]], Mapping[str, Any]] = lambda given: {},
    from_file: FromFile | None = None,
) -> T:
    """An instance of the dataclass `kind`, whose fields are `options.option`s, as the command line describes it.

    The options of a base class are a group of --help. `defaults` says, of what was given, which defaults --help
    shows instead of the fields' own. `from_file` makes a --config, whose values yield to flags.
    Raises `UserError`, on one line, for what is not allowed.
    """
    found = options_of(kind)
    parser = _parser(kind, prog, description, {})
    if from_file is not None:
        _add_config(parser, from_file.help)
    given = _given(parser, found, args)
    for path in given.pop("plugin", ()):
        plugins.load_plugin(converted("plugin", path, PATH))
    if given.pop("help"):
        parser = _parser(kind, prog, description, defaults(given))
        if from_file is not None:
            _add_config(parser, from_file.help)
        parser.print_help()
        sys.exit(0)
    try:
        file = given.pop("config", None)
        values = (
            {}
            if file is None or from_file is None
            else from_file.read(converted("config", file, PATH), given)
        )
        return kind(**{**values, **{name: _value(name, text, found[name]) for name, text in given.items()}})
    except UserError as error:
        raise UserError(f"{error} See {prog} --help.") from error


def _parser(kind: type, prog: str, description: str, defaults: Mapping[str, Any]) -> _Parser:
    """The parser of all options as plain text: `options.check` knows what each may be."""
    parser = _Parser(
        prog=prog,
        usage="%(prog)s [--FLAG=VALUE ...]",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
        exit_on_error=False,
        argument_default=argparse.SUPPRESS,
    )
    for base in [b for b in (*kind.__mro__[1:], kind) if dataclasses.is_dataclass(b)]:
        own = [name for name in inspect.get_annotations(base) if name in options_of(base)]
        if not own:
            continue
        title = "options" if base is kind else f"{base.__name__.lower()} options"
        group = parser.add_argument_group(title, base.__doc__ if base is not kind else None)
        for name in own:
            option = options_of(base)[name]
            _add(group, name, option, defaults.get(name, option.default))
    group = parser.add_argument_group("other options")
    group.add_argument("--plugin", nargs="+", action="extend", metavar="FILE.py", help=_PLUGIN_HELP)
    group.add_argument("-h", "--help", action="store_true", default=False, help="Show this and exit.")
    return parser


def _add_config(parser: _Parser, text: str) -> None:
    group = parser.add_argument_group("to repeat a run")
    group.add_argument("--config", metavar="FILE.json", help=text)


def _add(group: Any, name: str, option: Option, default: Any) -> None:
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
    note = "" if default is None or shown == "" else f" (default: {shown})"
    note = " (required)" if default is REQUIRED else note
    text = (option.help + note).replace("%", "%%")
    if option.rule is FLAG:
        group.add_argument(f"--{name}", f"--no_{name}", dest=name, action=_Switch, nargs=0, help=text)
        return
    metavar = option.rule.metavar if isinstance(option.rule.metavar, str) else option.rule.metavar()
    taken: Any = {"nargs": "*", "action": "extend"} if option.many else {}
    if option.alone is not None:
        taken = {"nargs": "?", "const": option.alone}
    group.add_argument(f"--{name}", metavar=metavar, help=text, **taken)


def _given(parser: _Parser, options: Mapping[str, Option], args: Sequence[str]) -> dict[str, Any]:
    """What the arguments say, as text, by name."""
    args = [_underscored(arg) for arg in args]
    for arg in args:
        if arg.split("=", 1)[-1] == "--":  # argparse drops it, some versions with what stands before
            raise UserError(f"{arg} is not allowed: '--' is no value. See {parser.prog} --help.")
    try:
        namespace, rest = parser.parse_known_args(args)
    except argparse.ArgumentError as error:
        message = f"{error.argument_name}: {error.message}."
        if error.message.startswith("ignored explicit argument"):  # argparse's words for --switch=VALUE
            flags = str(error.argument_name).split("/")
            message = f"{flags[0]} takes no value: write {' or '.join(flags)}."
        raise UserError(f"{message} See {parser.prog} --help.") from None
    if rest:
        flag = rest[0].split("=")[0]
        if not flag.startswith("-"):
            raise UserError(f"{_stray(rest[0], options, args)} See {parser.prog} --help.")
        raise UserError(f"unknown flag {flag}.{_meant(flag, options)} See {parser.prog} --help.")
    return vars(namespace)


def _stray(text: str, options: Mapping[str, Option], args: Sequence[str]) -> str:
    """What to say of a text that is no flag's value."""
    i = args.index(text)
    flag, equals, value = args[i - 1].partition("=") if i else ("", "", "")
    name = flag.removeprefix("--")
    if equals and (name == "plugin" or (name in options and options[name].many)):
        return f"'{text}' follows no flag: for several leave '=' out, as in {flag} {value} {text}."
    suffix = Path(text).suffix.lower()
    likely = {".py": ["plugin"], ".npz": ["npz", "dataset"], ".png": ["out"]}.get(suffix, [])
    likely += ["workdir"] if not suffix and (os.sep in text or os.path.isdir(text)) else []
    [name, *_] = [name for name in likely if name in options or name == "plugin"] or ["FLAG"]
    return f"'{text}' follows no flag: write --{name}={text}."


def _underscored(arg: str) -> str:
    """--batch-size=3 as --batch_size=3."""
    flag, *value = arg.split("=", 1)
    return "=".join([flag[:2] + flag[2:].replace("-", "_"), *value]) if flag.startswith("--") else arg


def _meant(flag: str, options: Mapping[str, Option]) -> str:
    name = flag.strip("-").removeprefix("no_")
    if flag.startswith("--no_") and name in options:
        return _off(name, options[name])
    known = [option for option, found in options.items() if name in found.also]
    found = known or [near for near in [nearest(name, [*options, "plugin", "help"])] if near]
    return f" Did you mean {' or '.join(f'--{option}' for option in found)}?" if found else ""


def _off(name: str, option: Option) -> str:
    """How to go without an option that is no switch."""
    if option.many:
        return f" For none write --{name} without a value."
    if option.default is None:
        return f" Leave --{name} out instead."
    try:
        option.rule.convert(0)
    except ValueError:
        return f" Did you mean --{name}?"
    return f" Write --{name}=0."


def _value(name: str, text: Any, option: Option) -> Any:
    """The value that the text stands for."""
    if option.rule is FLAG:
        return text
    try:
        return [option.rule.read(x) for x in text] if option.many else option.rule.read(text)
    except ValueError:
        raise not_allowed(name, text, option.rule) from None


def _speak_on() -> None:
    """See to it that no word, and nobody who stopped listening, ends a run: what cannot be said is left unsaid."""
    while (free := os.open(os.devnull, os.O_RDWR)) <= 2:  # closed: else a file would get its number
        pass
    os.close(free)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name) or open(os.devnull, "w")  # noqa: SIM115
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # × and − on a terminal without UTF-8
        setattr(sys, name, _Unfailing(stream))


class _Unfailing:
    """A stream that goes nowhere once nobody reads it, or its disk is full."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        return self._try(lambda: self._stream.write(text))

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, say: Callable[[], Any]) -> Any:
        try:
            return say()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())  # also for what the stream still holds
            os.close(nowhere)
            if self is sys.stdout:
                print("warning: nobody reads standard output any more; going on without it", file=sys.stderr)
            return say()


def _end_quietly() -> None:
    if "orbax.checkpoint" in sys.modules:
        from gan_jax.quiet import quiet_to_the_end  # above it would make absl's logger before absl does

        quiet_to_the_end()


def _memory_words(error: Exception) -> str | None:
    """What to say of an error that means that the memory is too small; None for others."""
    out = isinstance(error, MemoryError) or (
        isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)
    )
    if not out:
        return None
    said = " ".join(str(error).split())[:150]
    return f"the memory is too small{f' ({said})' if said else ''}: lower --batch_size, --z_dim, --num or --seeds."


def run(main: Callable[[Sequence[str]], int | None]) -> None:
    """Run a command on `sys.argv`: exit 2 and one line for a `UserError`, 128 + its number for a signal.

    A file or a plugin that fails is one line, too; any other error is ours, and keeps its traceback.
    """
    _speak_on()
    try:
        with stopping.on_signals(stopping.end):
            code = main(sys.argv[1:])
        sys.exit(code)
    except stopping.Stopped as stopped:
        print(stopped)
        sys.exit(stopped.exit_code)
    except Exception as error:
        _end_quietly()
        if (words := explained(error)) is None:
            raise
        print(f"error: {words}", file=sys.stderr)
        sys.exit(2)


def explained(error: Exception) -> str | None:
    """An error in one line; None for one that is ours."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename or 'writing'}: {error.strerror or error}"
    return plugins.blamed(error) or _memory_words(error)
