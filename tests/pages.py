"""What the READMEs and the documentation tell a reader to type: their command lines and their Python."""

import importlib
import json
import re
import shlex
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
README, CHINESE, EXPERIMENTS = (
    ROOT / "README.md",
    ROOT / "README.zh-CN.md",
    ROOT / "experiments" / "README.md",
)
PAGES = (
    README,
    CHINESE,
    *(page for part in ("docs", "experiments") for page in sorted((ROOT / part).glob("*.md"))),
)
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

Words = tuple[str, ...]  # a command line, as a shell splits it

_BLOCK = re.compile(r"^```(\S*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_OURS = r"python3? (?:-u )?-m (?:gan_jax|experiments)\."
# What of the code between a page's words is a command line, and not a name.
_BETWEEN_WORDS = re.compile(
    rf"{_OURS}\w+ .|python3? \S+\.py |(?:pip|git|cd|gan-jax|jupyter|sphinx-build) [^A-Z]"
)


def without_blocks(page: Path) -> str:
    """The page's text between its blocks."""
    return _BLOCK.sub("", page.read_text())


def blocks(page: Path, language: str) -> list[str]:
    """The page's blocks in a language, without comments, which differ between languages that people speak."""
    found = [block for name, block in _BLOCK.findall(page.read_text()) if name == language]
    return [re.sub(r" *#.*", "", block).strip() for block in found]


def python_blocks() -> list[str]:
    """Every block of Python on any page, once."""
    return list(dict.fromkeys(block for page in PAGES for block in blocks(page, "python")))


def lines_of(page: Path) -> list[Words]:
    """The page's command lines, in its blocks and between its words, in their order; each once."""
    return _lines(page.read_text())


def lines_of_notebooks() -> list[Words]:
    """The command lines in the texts of all notebooks, each once."""
    cells = [cell for path in NOTEBOOKS for cell in json.loads(path.read_text())["cells"]]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    return _lines("\n\n".join(texts))


def _lines(text: str) -> list[Words]:
    return list(dict.fromkeys(words for line in _texts(text) for words in _split(line)))


def all_lines() -> list[Words]:
    """Every command line on any page, once."""
    return list(dict.fromkeys(words for page in PAGES for words in lines_of(page)))


def _texts(text: str) -> Iterator[str]:
    """All that a page gives as command lines: what is in a shell's blocks, and what of the rest looks like one."""
    position = 0
    for block in _BLOCK.finditer(text):
        yield from _spans(text[position : block.start()])
        position = block.end()
        if block[1] == "sh":
            yield from block[2].replace("\\\n", " ").splitlines()
        else:
            yield from re.findall(rf"{_OURS}\w+ -.*", block[2])
    yield from _spans(text[position:])


def _spans(text: str) -> Iterator[str]:
    for code in re.findall(r"`([^`]+)`", text):
        joined = " ".join(code.split())
        if _BETWEEN_WORDS.match(joined) and not joined.endswith("…"):  # "…": given in full below
            yield joined


def _split(text: str) -> Iterator[Words]:
    """The commands of a line, which && joins."""
    for joins, words in groupby(shlex.split(text, comments=True), lambda word: word == "&&"):
        if not joins:
            yield tuple(_plain(word) for word in words if word != "-u")


def _plain(word: str) -> str:
    """A program by its name, wherever the page has it."""
    name = word.removeprefix(".venv/bin/")
    return "python" if name == "python3" else name


def called(words: Words) -> tuple[str, tuple[str, ...]] | None:
    """The module that a command line runs, here or elsewhere, and its arguments; None if it is none of ours."""
    for i, word in enumerate(words):
        if word.startswith("--command="):  # to another machine
            return called(next(_split(word.removeprefix("--command="))))
        if word == "-m" and words[i + 1].split(".")[0] in ("gan_jax", "experiments"):
            return words[i + 1], words[i + 2 :]
    return None


def code_of(module: str) -> Any:
    """What `python -m` runs."""
    found = importlib.import_module(module)
    return importlib.import_module(f"{module}.__main__") if hasattr(found, "__path__") else found
