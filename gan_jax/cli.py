"""The command line that every `python -m gan_jax.<name>` shares: tyro's parsing, our one-line errors."""

import contextlib
import difflib
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import tyro

from gan_jax.data import cache_folder
from gan_jax.errors import UserError

T = TypeVar("T")


def parse(build: Callable[..., T], args: Sequence[str], *, prog: str, description: str) -> T:
    """`build` called with what `args` say; its annotations and docstrings make the options and `--help`.

    A dataclass argument of `build` becomes a group of options. Raises `UserError`, on one line, for
    arguments that do not parse (tyro itself would draw a box of several lines).
    """
    with contextlib.redirect_stderr(io.StringIO()) as drawn:
        try:
            return tyro.cli(
                build,
                prog=prog,
                description=description,
                args=list(args),
                use_underscores=True,
                config=(tyro.conf.OmitArgPrefixes,),
            )
        except SystemExit as stop:
            if stop.code in (0, None):  # --help
                raise
    raise UserError(_one_line(drawn.getvalue(), _flags(build, prog)) + f" See {prog} --help.")


def _one_line(box: str, flags: list[str]) -> str:
    """The sentence in tyro's box, whose frame is of dashes where the terminal has no box characters."""
    lines = [line.strip("│ ") for line in box.splitlines()]
    rules = [i for i, line in enumerate(lines) if re.search("───|---", line)]
    body = lines[rules[0] + 1 : rules[1]] if len(rules) > 1 else lines
    text = " ".join(" ".join(body).split()).rstrip(".") + "."
    if unrecognized := re.match(r"Unrecognized options: (--[\w-]+)", text):
        near = difflib.get_close_matches(unrecognized[1], flags, n=1)
        text += f" Did you mean {near[0]}?" if near else ""
    return text


def _flags(build: Callable[..., object], prog: str) -> list[str]:
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
        tyro.cli(build, prog=prog, args=["--help"], use_underscores=True, config=(tyro.conf.OmitArgPrefixes,))
    return re.findall(r"(--\w+)", text.getvalue())


def use_compilation_cache() -> None:
    """Keep compiled programs in the user's cache folder, unless JAX_COMPILATION_CACHE_DIR names another."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = cache_folder() / "xla"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:  # JAX would warn at every program; a start that compiles anew is all that is lost
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
    # JAX's own threshold of one second would leave out half of what a start compiles.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def run(main: Callable[[Sequence[str]], int | None]) -> None:
    """Run a command on `sys.argv`: exit 2 and one line for a `UserError` or a file that fails, 130 for Ctrl-C."""
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"error: {error.filename or 'writing'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
