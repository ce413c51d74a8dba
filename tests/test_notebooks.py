"""The notebooks as they are committed; .ci/run executes them."""

import base64
import inspect
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_jax.objectives import OBJECTIVES
from notebooks.execute import FOLDER, LINK, faults, original, renew, smaller, texts_of

PATHS = sorted(FOLDER.glob("*.ipynb"))
TRANSLATIONS = [path for path in PATHS if original(path)]
SAME = {
    "formulas": r"\$\$.+?\$\$|\$[^$]+\$",
    "code": r"`[^`]+`",
    "numbers": r"\d+(?:[.,]\d+)*|[½¼⅛]",
    "links": r"\]\(([^)]+)\)",
    "bold": r"(\*\*)[^*]+\*\*",
    "rows": r"(?m)^(\||- |#+ |\d\. )",
}
# Decimals in texts that nothing prints: log 2, what a picture shows, a quotient, a rate or weight of the next cell.
REASONED = {"0.69", "0.6", "0.01", "0.001", "0.0012", "0.0015"}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_outputs_are_those_of_the_code(path: Path) -> None:
    assert faults(path) == []


def test_the_texts_say_what_the_outputs_say() -> None:
    for path in PATHS:
        shown: list[str] = []
        for cell in json.loads(path.read_text())["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] == "code":
                outputs = [output.get("text") or output.get("data", {}) for output in cell["outputs"]]
                shown.append(source + json.dumps(outputs).replace("\\n", "\n"))
                continue
            near = re.sub(r'"image/\w+": (\[.*?\]|".*?")', "", "\n".join(shown[-4:]), flags=re.DOTALL)
            known = [float(number) for number in re.findall(r"\d+\.?\d*", near.replace(",", ""))]
            for number in re.findall(r"(?<![\d.])\d+\.\d+(?!\.?\d)", source):
                rounding = 0.5001 * 10.0 ** -len(number.partition(".")[2])
                said = any(abs(value - float(number)) <= rounding for value in known)
                assert said or number in REASONED, (path.name, cell["id"], number)


def test_the_page_of_the_notebooks_says_how_long_they_took() -> None:
    page = (FOLDER.parent / "docs" / "notebooks.md").read_text()
    for path in set(PATHS) - set(TRANSLATIONS):
        seconds = json.loads(path.read_text())["metadata"]["gan_jax"]["seconds"]
        assert re.search(rf"^\| \[{path.stem}\].* \| {round(seconds / 60)} \|$", page, re.MULTILINE), (
            path.name
        )


def test_a_kept_picture_is_as_bright_as_it_was() -> None:
    rng = np.random.default_rng(0)
    dim = rng.integers(0, 100, (64, 64), np.uint8)
    dim[:2, :8] = 255  # few white pixels among many dark ones
    file = io.BytesIO()
    Image.fromarray(dim).save(file, "PNG")
    kept = Image.open(io.BytesIO(base64.b64decode(smaller(base64.b64encode(file.getvalue()).decode()))))
    assert np.abs(np.asarray(kept.convert("L"), int) - dim).max() <= 8


def test_a_changed_cell_is_found_and_changed_text_or_another_repository_is_none(tmp_path: Path) -> None:
    text = PATHS[0].read_text()
    copy = tmp_path / PATHS[0].name
    copy.write_text(LINK.sub(r"\g<1>someone/else", text))
    assert faults(copy) == []
    for kind, found in {"markdown": [], "code": ["its outputs are not those of its code"]}.items():
        notebook = json.loads(text)
        cell = [cell for cell in notebook["cells"] if cell["cell_type"] == kind][-1]
        cell["source"] = [*cell["source"], " #"]
        copy.write_text(json.dumps(notebook))
        assert [fault.split(":")[0] for fault in faults(copy)] == found


def test_errors_and_words_on_stderr_are_found(tmp_path: Path) -> None:
    notebook = json.loads(PATHS[0].read_text())
    bad = [
        {"output_type": "stream", "name": "stderr", "text": ["UserWarning: oh"]},
        {"output_type": "error", "ename": "E", "evalue": "no", "traceback": []},
    ]
    next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")["outputs"] += bad
    copy = tmp_path / PATHS[0].name
    copy.write_text(json.dumps(notebook))
    assert [fault.split(": ")[-1] for fault in faults(copy)] == ["oh", "no"]


def test_a_printed_function_that_has_changed_since_is_found(tmp_path: Path) -> None:
    text = PATHS[0].read_text()
    copy = tmp_path / PATHS[0].name
    assert text.count("return examples.astype") == 1
    copy.write_text(text.replace("return examples.astype", "return 2 * examples.astype"))
    [fault] = faults(copy)
    assert fault.startswith("it prints to_float as the package no longer has it: run")


def test_an_objective_shows_its_own_source() -> None:
    assert "return -jnp.mean(jax.nn.softplus(fake_logits))" in inspect.getsource(OBJECTIVES["minimax"].g_loss)


@pytest.mark.parametrize("path", TRANSLATIONS, ids=lambda path: path.stem)
def test_a_translation_has_the_formulas_numbers_and_links_of_its_original(path: Path) -> None:
    source = original(path)
    assert source is not None
    pairs = zip(*(texts_of(json.loads(file.read_text())) for file in (source, path)), strict=True)
    for pair in pairs:
        first, second = ("".join(cell["source"]).replace(path.name, source.name) for cell in pair)
        assert first != second
        for what, pattern in SAME.items():
            found = [sorted(re.findall(pattern, text, re.DOTALL)) for text in (first, second)]
            assert found[1] == found[0], (pair[0]["id"], what)


def test_a_translation_follows_its_original(tmp_path: Path) -> None:
    translation = TRANSLATIONS[0]
    source = original(translation)
    assert source is not None
    copy = tmp_path / translation.name
    copy.write_bytes(translation.read_bytes())
    notebook = json.loads(source.read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    code[-1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["new"]}]
    changed = tmp_path / source.name
    changed.write_text(json.dumps(notebook))
    again = f"run `python notebooks/execute.py {copy.stem}`"
    assert faults(copy) == [f"its code or outputs are not those of {changed.name}: {again}"]
    assert renew(copy, 0.01) == []
    assert copy.read_bytes() == translation.read_bytes()
    assert renew(copy, 1.0) == []
    assert '"new"' in copy.read_text()
    assert texts_of(json.loads(copy.read_text())) == texts_of(json.loads(translation.read_text()))
    notebook["cells"].append({"cell_type": "markdown", "id": "end", "metadata": {}, "source": ["Bye."]})
    changed.write_text(json.dumps(notebook))
    (found,) = renew(copy, 1.0)
    assert found.endswith("translate each")
