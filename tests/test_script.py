"""An own loss on own images: a script of 15 lines through `fit`, and the same by the commands."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_jax import plugins
from gan_jax.evaluation import Evaluator
from gan_jax.objectives import OBJECTIVES

Command = Callable[..., subprocess.CompletedProcess[str]]

SCRIPT = Path(__file__).parent / "own_loss_script.py"
PLUGIN = """
import gan_jax
from jax.nn import softplus

d_loss = lambda real, fake: softplus(1 - real).mean() + softplus(1 + fake).mean()
gan_jax.OBJECTIVES["soft_hinge"] = gan_jax.Objective(d_loss, g_loss=lambda real, fake: -fake.mean())
"""


@pytest.fixture
def own(tmp_path: Path) -> np.ndarray:
    """Bright squares on dark ground, in own.npz: uint8 [1000, 32, 32, 3]."""
    rng = np.random.default_rng(0)
    images = np.full((1000, 32, 32, 3), 30, np.uint8)
    for image, (y, x), colour in zip(
        images, rng.integers(4, 14, (1000, 2)), rng.integers(150, 256, (1000, 3)), strict=True
    ):
        image[y : y + 14, x : x + 14] = colour
    np.savez(tmp_path / "own.npz", images=images)
    return images


def test_the_script_is_short_and_learns(own: np.ndarray, tmp_path: Path) -> None:
    assert len(SCRIPT.read_text().splitlines()) <= 15
    done = subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT)],
        cwd=tmp_path,
        env={**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    [found] = re.findall(r"^Fréchet distance: (.*)$", done.stdout, re.MULTILINE)
    evaluator = Evaluator(own[:200], own[200:])
    grey = (
        np.random.default_rng(0).normal(128, 10, (200, 32, 32, 3)).astype(np.uint8)
    )  # G before its first step
    assert evaluator.frechet(own[200:]) < float(found) < 0.3 * evaluator.frechet(grey)
    with Image.open(tmp_path / "grid.png") as grid:
        assert (grid.size, grid.mode) == ((8 * 34 + 2, 8 * 34 + 2), "RGB")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grid.png", "own.npz"]


def test_the_same_by_the_commands(
    own: np.ndarray, in_process: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("flask", reason="Flask is missing: pip install 'gan_jax[human]'")
    from gan_jax.human_eval import page

    class Judged:
        """A rater who takes every image for real, in place of the server."""

        port = 1

        def __init__(self, listener: socket.socket, app: object) -> None:
            self.client = app.test_client()  # type: ignore[attr-defined]

        def serve_forever(self) -> None:
            rater = self.client.post("/raters", json={"name": "Ann"}).json["rater"]
            now = self.client.get(f"/rater/{rater}/state").json
            while now["result"] is None:
                body = {"card": now["page"][0]["card"], "answer": "real", "response_ms": 100.0}
                now = self.client.post("/answers", json=body).json

    def done(name: str, *args: str) -> str:
        found = in_process(name, "--plugin=mine.py", *args)
        assert found.returncode == 0, found.stderr
        return found.stdout

    monkeypatch.setattr(plugins, "LOADED", {})
    monkeypatch.setitem(OBJECTIVES, "soft_hinge", OBJECTIVES["hinge"])  # and away again at the end
    monkeypatch.setattr(page, "make", Judged)
    (tmp_path / "mine.py").write_text(PLUGIN)
    own_data = ("--dataset=own.npz", "--loss=soft_hinge", "--model=mlp", "--steps=30", "--batch_size=16")
    assert "200 of them, drawn by seed 0" in done("train", *own_data, "--workdir=w")
    assert json.loads((tmp_path / "w" / "config.json").read_text())["loss"] == "soft_hinge"
    done("sample", "--workdir=w", "--num=5", "--seed=1", "--out=a.npz")
    with np.load("a.npz") as file:
        assert (file["images"].shape, file["images"].dtype) == ((5, 32, 32, 3), np.uint8)
    table = done("evaluate", "--workdir=w")
    assert re.search(r"^own\n.*Fréchet", table, re.DOTALL)
    scores = json.loads((tmp_path / "w" / "evaluation.json").read_text())["scores"]
    frechet = scores["frechet_distance/random-filters-0/200-test"]
    assert frechet["floor"] < frechet["value"]
    done("human_eval.__main__", "--workdir=w", "--num=8", "--port=0")
    report = done("human_eval.__main__", "--workdir=w", "--report")
    assert re.search(r"^Ann +8/8 +100\.0% .* 0\.0% .* 50\.0% ", report, re.MULTILINE)
