"""The cache of compiled programs: where the commands keep them, and what becomes of a damaged one."""

import os
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import jax

from gan_jax.storage import cache_folder

_DAMAGED = re.compile(r"Error reading persistent compilation cache entry for '([\w.<>-]+)'")


_UNWRITABLE = "Error writing persistent compilation cache entry"


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
    _mend_damaged()


def _mend_damaged() -> None:
    """Have what JAX warns of as damaged removed. It would leave it there, and warn at every start for ever."""
    show, told = warnings.showwarning, set[str]()

    def tell(text: str) -> None:
        if text not in told:
            print(text, file=sys.stderr)
        told.add(text)

    def removing(
        message: Any, category: Any, filename: Any, lineno: Any, file: Any = None, line: Any = None
    ) -> None:
        if found := _DAMAGED.search(str(message)):
            remove_program(found[1])
        elif _UNWRITABLE in str(message):
            folder = getattr(jax.config, "jax_compilation_cache_dir", None)
            tell(f"note: compiled programs cannot be kept in {folder}: they will be compiled again.")
        else:
            show(message, category, filename, lineno, file, line)

    for pattern in (_DAMAGED.pattern, _UNWRITABLE):
        warnings.filterwarnings("always", message=pattern)
    warnings.showwarning = removing


def remove_program(name: str) -> None:
    """Remove all that the cache holds of the program `name`, which JAX then compiles and writes anew; it is said."""
    folder = Path(getattr(jax.config, "jax_compilation_cache_dir", None) or cache_folder() / "xla")
    removed = 0
    for path in folder.iterdir() if folder.is_dir() else []:
        if path.is_file() and path.name.startswith(f"{name}-"):
            path.unlink(missing_ok=True)
            removed += 1
    said = f"and {removed} files of it are removed" if removed else f"in {folder}, and cannot be removed"
    print(f"note: the compiled program {name} was damaged, {said}: it is compiled anew.", file=sys.stderr)
