"""Executes the notebooks beside it, and finds those whose outputs are older than their code.

    python notebooks/execute.py                                # all, at full size, and keeps the outputs
    python notebooks/execute.py 1_gan_tutorial                 # one of them, and its translations
    python notebooks/execute.py --factor=0.01                  # all, much shorter, and keeps nothing: a test
    python notebooks/execute.py --check                        # executes nothing
    python notebooks/execute.py --repository=OWNER/NAME        # writes it into all links

Executing takes `pip install -e '.[notebooks]'`. A warning in a notebook is an error.

A translation (NAME.zh-CN.ipynb) is not executed. It has texts of its own, and takes all else from NAME.ipynb.
"""

import argparse
import ast
import base64
import hashlib
import io
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

import gan_jax
from gan_jax import __version__

FOLDER = Path(__file__).parent
FACTOR = "GAN_JAX_NOTEBOOK_STEPS"  # what the notebooks multiply their numbers of steps with
MOST_BYTES = 1_000_000
COLOURS, GREYS = 128, 16  # of a kept picture
SECONDS = 1800  # for a cell, at most
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"((?:git\+https://github\.com|research\.google\.com/github)/)[\w.-]+/[\w.-]+")
# Except what the kernel tells itself when it is shut down.
STRICT = (
    "import warnings; warnings.simplefilter('error'); warnings.filterwarnings('ignore', 'For consistency')"
)

Notebook = dict[str, Any]


def code_of(notebook: Notebook) -> list[dict[str, Any]]:
    """The cells that hold code."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def digest(notebook: Notebook) -> str:
    """SHA-256 of all code, whichever repository it installs from."""
    code = "\0".join(LINK.sub(r"\1", "".join(cell["source"])) for cell in code_of(notebook))
    return hashlib.sha256(code.encode()).hexdigest()


def original(path: Path) -> Path | None:
    """The notebook that this one is a translation of; None if it is none."""
    name, _, language = path.stem.partition(".")
    return path.with_name(f"{name}.ipynb") if language else None


def texts_of(notebook: Notebook) -> list[dict[str, Any]]:
    """The cells that hold text."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "markdown"]


def translated(notebook: Notebook, translation: Notebook) -> Notebook:
    """The notebook with the texts of its translation, of which there are as many."""
    texts = iter(texts_of(translation))
    cells = [
        {**cell, "source": next(texts)["source"]} if cell["cell_type"] == "markdown" else cell
        for cell in notebook["cells"]
    ]
    return {**notebook, "cells": cells}


def faults(path: Path) -> list[str]:
    """What is wrong with a notebook as it lies there."""
    notebook: Notebook = json.loads(path.read_text())
    found = stray(notebook)
    made = notebook["metadata"].get("gan_jax", {})
    again = f"run `python notebooks/execute.py {path.stem}`"
    counts = [cell["execution_count"] for cell in code_of(notebook)]
    if made.get("code") != digest(notebook) or counts != list(range(1, len(counts) + 1)):
        found.append(f"its outputs are not those of its code: {again}")
    elif made["version"] != __version__:
        found.append(f"its outputs are of version {made['version']}, and this is {__version__}: {again}")
    if names := outdated(notebook):
        found.append(f"it prints {', '.join(names)} as the package no longer has it: {again}")
    if (size := path.stat().st_size) > MOST_BYTES:
        found.append(f"it has {size:,} bytes, more than {MOST_BYTES:,}")
    if f"/blob/main/notebooks/{path.name}" not in "".join(notebook["cells"][0]["source"]):
        found.append("its first cell has no link to open it in Colab")
    if (source := original(path)) is not None:
        executed: Notebook = json.loads(source.read_text())
        here, there = len(texts_of(notebook)), len(texts_of(executed))
        if here != there:
            found.append(f"it has {here} cells of text, and {source.name} {there}: translate each")
        elif notebook != translated(executed, notebook):
            found.append(f"its code or outputs are not those of {source.name}: {again}")
    return found


def outdated(notebook: Notebook) -> list[str]:
    """The functions and classes of the package that its outputs print, and that the package no longer has like that."""
    outputs = [output.get("data", {}) for cell in code_of(notebook) for output in cell["outputs"]]
    blocks = PYTHON.findall("\n".join("".join(data.get("text/markdown", "")) for data in outputs))
    printed = [(block, node) for block in blocks for node in ast.parse(block).body]
    package = [file.read_text() for file in Path(gan_jax.__file__).parent.rglob("*.py")] if printed else []
    found = []
    for block, node in printed:
        source = ast.get_source_segment(block, node) or ""
        if not any(source in text for text in package):
            found.append(node.name if isinstance(node, ast.FunctionDef | ast.ClassDef) else source)
    return found


def stray(notebook: Notebook) -> list[str]:
    """What cells wrote that nobody should see: errors, and anything on stderr."""
    outputs = [output for cell in code_of(notebook) for output in cell["outputs"]]
    return [
        f"it has an error or words on stderr: {''.join(output.get('text', output.get('evalue', '')))[:500]}"
        for output in outputs
        if output["output_type"] == "error" or output.get("name") == "stderr"
    ]


def take(path: Path, source: Path) -> list[str]:
    """Writes the code and the outputs of its original into a translation. Returns what is wrong."""
    translation, executed = (json.loads(file.read_text()) for file in (path, source))
    if len(texts_of(translation)) == len(texts_of(executed)):
        taken = translated(executed, translation)
        # As nbformat writes it.
        path.write_text(json.dumps(taken, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    return faults(path)


def execute(path: Path, factor: float) -> list[str]:
    """Runs a notebook in an empty folder; at full size it is kept with its outputs. Returns what is wrong."""
    import nbformat  # not needed for the check
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    notebook = nbformat.read(path, as_version=4)
    os.environ[FACTOR] = str(factor)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as away:
        client = NotebookClient(
            notebook,
            timeout=SECONDS,
            record_timing=False,
            resources={"metadata": {"path": away}},
            extra_arguments=[f"--IPKernelApp.exec_lines={STRICT}"],
        )
        try:
            client.execute()
        except CellExecutionError as error:
            return [str(error)]
    seconds = round(time.monotonic() - began)
    print(f"{path.name}: {seconds} s", flush=True)
    if factor < 1:
        return stray(notebook)
    keep(notebook, path, seconds)
    return faults(path)


def renew(path: Path, factor: float) -> list[str]:
    """Executes a notebook, or has a translation follow its original. Returns what is wrong."""
    if (source := original(path)) is None:
        return execute(path, factor)
    return take(path, source) if factor >= 1 else []


def keep(notebook: Notebook, path: Path, seconds: int) -> None:
    """Writes an executed notebook, with smaller pictures, and says in it what it was executed from."""
    import nbformat

    for cell in code_of(notebook):
        for output in cell["outputs"]:
            if "image/png" in (shown := output.get("data", {})):
                shown["image/png"] = smaller(shown["image/png"])
                shown.pop("image/jpeg", None)  # Pillow gives a picture in both forms
    notebook["metadata"] = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "gan_jax": {"code": digest(notebook), "version": __version__, "seconds": seconds},
    }
    nbformat.write(notebook, path)


def smaller(png: str) -> str:
    """The same picture, in base64, with few colours or shades of grey, or as it is where that saves nothing."""
    picture = Image.open(io.BytesIO(base64.b64decode(png)))
    if picture.mode == "P":
        return png
    if picture.mode == "RGBA":
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    # An octree keeps the few pixels of a thin line in their own colour.
    octree = Image.Quantize.FASTOCTREE
    if picture.mode == "L":
        # Even steps from black to white: greys chosen by their number leave out the white of a mostly black picture.
        step = 255 // (GREYS - 1)
        picture = picture.point([round(value / step) * step for value in range(256)]).quantize(GREYS)
    else:
        picture = picture.convert("RGB").quantize(COLOURS, octree)
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return min(base64.b64encode(file.getvalue()).decode(), png, key=len)


def main(args: Sequence[str]) -> int:
    """The command. Returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", help="notebooks, or how their names begin; by default all")
    parser.add_argument("--factor", type=float, default=1.0, help="below 1: of the steps; nothing is kept")
    parser.add_argument("--check", action="store_true", help="fail for a notebook that is not as it must be")
    parser.add_argument("--repository", help="OWNER/NAME on GitHub, for the links")
    given = parser.parse_args(args)
    paths = [path for name in given.names or [""] for path in FOLDER.glob(f"{name}*.ipynb")]
    if not paths:
        parser.error(f"no notebook begins with {' or '.join(given.names)}")
    paths = sorted(set(paths), key=lambda path: path.stem)  # a notebook before its translations
    if given.repository:
        for path in paths:
            path.write_text(LINK.sub(rf"\g<1>{given.repository}", path.read_text()))
        return 0
    failed = False
    for path in paths:
        for wrong in faults(path) if given.check else renew(path, given.factor):
            print(f"{path.name}: {wrong}", flush=True)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
