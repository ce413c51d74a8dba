"""The notebooks as they are committed; .ci/run executes them."""

import inspect
import json
from pathlib import Path

import pytest

from gan_jax.objectives import OBJECTIVES
from notebooks.execute import FOLDER, LINK, faults

PATHS = sorted(FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_outputs_are_those_of_the_code(path: Path) -> None:
    assert faults(path) == []


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


def test_an_objective_shows_its_own_source() -> None:
    assert "return -jnp.mean(jax.nn.softplus(fake_logits))" in inspect.getsource(OBJECTIVES["minimax"].g_loss)
