"""The experiments without a test file of their own, from end to end: few steps, small images, fewer systems."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from kept import registries_kept
from PIL import Image

from experiments import vanishing
from experiments.mixtures import __main__ as mixtures
from gan_jax import data


@pytest.fixture(autouse=True)
def small_mnist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """MNIST is 140 noisy images of 8 × 8; on one device."""
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (140, 8, 8, 1), np.uint8)
    labels = np.arange(140, dtype=np.int32) % 10
    monkeypatch.setitem(data.DATASETS, "mnist", lambda split, data_dir: (images, labels))
    [first, *_] = jax.devices()
    monkeypatch.setattr(jax, "devices", lambda: [first])
    with registries_kept():
        yield


@pytest.mark.long
def test_while_g_stands_still_both_losses_meet_the_same_d(monkeypatch: pytest.MonkeyPatch) -> None:
    [still, *_] = vanishing.EXPERIMENTS.items()
    monkeypatch.setattr(vanishing, "EXPERIMENTS", dict([still]))
    monkeypatch.setattr(vanishing, "EVERY", 2)
    vanishing.main(["--steps=4", "--seeds=2", "--out=out"])
    rows = re.findall(r"^\| G stands still .*$", Path("out/vanishing.md").read_text(), re.MULTILINE)
    minimax, other = ([cell.strip() for cell in row.split("|")[1:-1]] for row in rows)
    assert [minimax[1], other[1]] == list(vanishing.LOSSES)
    assert minimax[-1] == other[-1]  # D's score
    assert minimax[2:-1] != other[2:-1]  # G's gradient
    with Image.open("out/vanishing.png") as picture:
        assert picture.width > 1000


@pytest.mark.long
def test_the_mixtures_have_a_film_a_sheet_and_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    [name, *_] = mixtures.ANIMATED
    monkeypatch.setattr(mixtures, "SYSTEMS", {name: mixtures.SYSTEMS[name]})
    monkeypatch.setattr(mixtures, "ANIMATED", (name,))
    monkeypatch.setattr(mixtures, "DATASETS", mixtures.DATASETS[-1:])
    mixtures.main(["--steps=4", "--seeds=1", "--out=out"])
    with Image.open("out/mixtures.gif") as moving:
        assert moving.n_frames == 4
    assert Path("out/grid25.png").stat().st_size > 0
    table = Path("out/mixtures.md").read_text()
    assert f"\n| {name} | " in table
    assert "\n| real points | 25 | " in table


@pytest.mark.long
def test_stacked_mnist_counts_modes_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from experiments import stacked_mnist

    # Judged as if by a classifier that sees every class equally often.
    monkeypatch.setattr(stacked_mnist, "seen_labels", lambda images: np.arange(26_000) % 1000)
    monkeypatch.setattr(stacked_mnist, "references", lambda options, images: REFERENCES)
    flags = ["--systems", "tutorial", "--steps=1", "--seeds=1", "--num=26000", "--workdir=w", "--out=out"]
    stacked_mnist.main(flags)
    table = Path("out/stacked_mnist.md").read_text()
    assert "| tutorial | 1 of 1 | 1 | 1000 | 0 | – | " in table
    log, scores = (Path("w/tutorial/seed-0", name) for name in ("metrics.jsonl", "scores.json"))
    before = log.read_bytes(), scores.read_bytes()
    assert json.loads(before[1])["config"]["dataset"] == "stacked_mnist"
    stacked_mnist.main(flags)
    assert (log.read_bytes(), scores.read_bytes()) == before
    assert len(before[0].splitlines()) == 1

    # A killed process has left no cost: the mean over seeds is unknown then.
    assert re.search(r" \d+\.\d \|$", table.splitlines()[2])
    Path("w/tutorial/seed-0/cost.json").unlink()
    scores.unlink()
    stacked_mnist.main(flags)
    [row] = re.findall(r"^\| tutorial .*$", Path("out/stacked_mnist.md").read_text(), re.MULTILINE)
    assert row.endswith("| – | – |")


REFERENCES = {
    "real": {"26000": [1000, 0.0], "100000": [1000, 0.0]},
    "uniform": {"26000": [0.02, 0.001], "100000": [0.005, 0.0002]},
}
