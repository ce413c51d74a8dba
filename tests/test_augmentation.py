"""The experiment with generated data: which images are taken, how they are mixed, and the command from end to end."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gan_jax
from experiments.augmentation import __main__ as augmentation
from experiments.augmentation.images import balanced, mixed
from gan_jax import cli
from gan_jax.errors import UserError
from gan_jax.train_classifier import train_classifier

FLAGS = ["--dataset=own.npz", "--model=mlp", "--gan_steps=6", "--samples=32", "--steps=15", "--workdir=a"]


def blobs(num: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of 8×8 in two classes that anything tells apart: a bright half on the left, or on the right."""
    labels = np.arange(num) % 2
    images = np.random.default_rng(num).integers(0, 60, (num, 8, 8, 1), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 4 * label : 4 * label + 4] += 150
    return images, labels


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (images, labels), (test_images, test_labels) = blobs(90), blobs(60)
    arrays = {"images": images, "labels": labels, "test_images": test_images, "test_labels": test_labels}
    np.savez(tmp_path / "own.npz", **arrays)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_class_has_as_many_of_the_images_as_there_are() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [5, 40, 100]))
    found = balanced(labels, 30, seed=1)
    assert np.bincount(labels[found]).tolist() == [5, 13, 12] or np.bincount(labels[found]).tolist() == [
        5,
        12,
        13,
    ]
    assert len(set(found.tolist())) == 30
    assert found[:10].tolist() == balanced(labels, 10, seed=1).tolist()
    assert sorted(balanced(labels, 145, seed=1)) == list(range(145))
    assert set(found.tolist()) != set(balanced(labels, 30, seed=2).tolist())


@pytest.mark.parametrize(("real", "generated"), [(3, 7), (7, 3), (4, 4)])
def test_half_of_a_mixture_is_real(real: int, generated: int) -> None:
    found = mixed(np.arange(real), 100 + np.arange(generated))
    assert (found < 100).sum() == (found >= 100).sum() == max(real, generated)
    for some, count in ((found[found < 100], real), (found[found >= 100], generated)):
        times = np.bincount(some % 100)
        assert len(times) == count
        assert times.max() - times.min() <= 1


def test_a_classifier_takes_as_many_steps_as_it_is_told() -> None:
    images, labels = blobs(50)
    taken: list[int] = []

    def count(steps):
        for i in steps:
            taken.append(i)
            yield i

    train_classifier(images, labels, steps=7, batch_size=16, progress=count)
    assert taken == list(range(7))  # of 3 an epoch


@pytest.mark.long
def test_the_command_trains_a_gan_of_the_same_images_and_takes_what_is_there(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--sizes", "32", *FLAGS, "--seeds=1"]
    made: list[Any] = []
    learn = lambda *args, **options: made.append(train_classifier(*args, **options)) or made[-1]
    monkeypatch.setattr(augmentation, "train_classifier", learn)
    assert augmentation.main(command) == 0
    results = json.loads((own / "a" / "augmentation.json").read_text())
    found = {(c["size"], c["seed"], c["source"]): c["accuracy"] for c in results["classifiers"]}
    assert found.keys() == {(32, 0, source) for source in ("real", "generated", "both")}
    assert found[32, 0, "real"] > 0.9  # halves are easy to tell apart, and labels that were shuffled are not
    assert all(0 <= value <= 1 for value in found.values())
    images, labels = blobs(90)
    chosen = balanced(labels, 32, 0)
    gan = gan_jax.load(own / "a" / "32-0" / "gan", member=0)
    assert (gan.step, gan.config.conditional, gan.config.batch_size) == (6, True, 32)
    facts = json.loads((own / "a" / "32-0" / "gan" / "config.json").read_text())["data"]
    assert facts["sha256"] == gan_jax.storage.sha256_of_data(images[chosen], labels[chosen])

    # Another seed is added to what is there: none of the old is trained again. Its three classifiers are those of
    # the first, which saves to train them.
    monkeypatch.setattr(augmentation, "train_classifier", lambda *args, **options: made.pop())
    assert augmentation.main([*command[:-1], "--seeds=2"]) == 0
    assert made == []
    more = json.loads((own / "a" / "augmentation.json").read_text())["classifiers"]
    assert len(more) == 6
    assert [c for c in more if c["seed"] == 0] == results["classifiers"]
    monkeypatch.setattr(augmentation, "train_classifier", lambda *args, **options: 1 / 0)
    capsys.readouterr()
    assert augmentation.main([*command[:-1], "--seeds=2"]) == 0
    text = (own / "a" / "augmentation.md").read_text()
    assert "own, 2 seeds" in text
    assert "| 32 | " in text
    assert "Accuracy on all 60 test images" in text
    assert (own / "a" / "augmentation.png").stat().st_size > 5000
    with pytest.raises(UserError, match="another experiment, which differs in steps"):
        augmentation.main([*command, "--steps=16"])


def test_without_a_gan_the_real_images_still_have_their_row(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augmentation, "_gan", lambda *args: None)
    assert augmentation.main(["--sizes", "32", *FLAGS, "--seeds=1"]) == 0
    text = (own / "a" / "augmentation.md").read_text()
    assert text.count("the GAN diverged") == 2
    assert json.loads((own / "a" / "augmentation.json").read_text())["classifiers"][0]["accuracy"] is None


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--sizes", "100"], "--sizes=100 is not allowed: there are 90 train images, and 2 classes"),
        (["--sizes", "1"], "--sizes=1 is not allowed"),
        (["--sizes", "20", "20"], "each once"),
        (["--sizes", "20", "--seeds=0"], "--seeds=0 is not allowed"),
        (["--sizes", "20", "--preset=wgam"], "unknown preset 'wgam'"),
        (["--sizes", "20", "--model=big"], "unknown model 'big'"),
    ],
)
def test_bad_input_is_one_line(
    own: Path,
    flags: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["augmentation", *FLAGS, *flags])
    with pytest.raises(SystemExit) as stop:
        cli.run(augmentation.main)
    assert stop.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert words in line
    assert not (own / "a").exists()
