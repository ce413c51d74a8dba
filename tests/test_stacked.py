"""Stacked MNIST: its images and labels, its classifier, the KL's noise floor, and a run from end to end."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from experiments import stacked_mnist
from gan_jax import data, generate
from gan_jax.config import to_json
from gan_jax.data.stacked import COUNTS, stacked
from gan_jax.evaluation import Evaluator
from gan_jax.features import classifier
from gan_jax.features.choice import choose_network
from gan_jax.metrics import mode_count, mode_kl
from gan_jax.parts import facts_of
from gan_jax.storage import sha256_of_data

Command = Callable[..., subprocess.CompletedProcess[str]]
Split = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def train(cache_home: Path) -> Split:
    images, labels = data.load("stacked_mnist", "train")
    assert labels is not None
    return images, labels


@pytest.fixture(scope="module")
def test(cache_home: Path) -> Split:
    images, labels = data.load("stacked_mnist", "test")
    assert labels is not None
    return images, labels


def test_it_has_the_sizes_of_its_paper(train: Split, test: Split) -> None:
    for (images, labels), num in ((train, 128_000), (test, 26_000)):
        assert (images.shape, images.dtype) == ((num, 28, 28, 3), np.uint8)
        assert (labels.shape, labels.dtype) == ((num,), np.int32)
        assert (labels.min(), labels.max(), len(np.unique(labels))) == (0, 999, 1000)


def test_each_channel_is_a_digit_of_the_same_split_and_the_label_says_which(
    train: Split, test: Split
) -> None:
    for split, (images, labels) in {"train": train, "test": test}.items():
        digits, classes = data.load("mnist", split)
        assert classes is not None
        known = {digit.tobytes(): int(label) for digit, label in zip(digits, classes, strict=True)}
        for image, label in zip(images[:100], labels[:100], strict=True):
            a, b, c = (known[image[..., channel].tobytes()] for channel in range(3))
            assert label == 100 * a + 10 * b + c


def test_channels_are_drawn_independently_and_from_all_digits(train: Split) -> None:
    _, labels = train
    _, classes = data.load("mnist", "train")
    assert classes is not None
    shares = np.bincount(classes) / len(classes)
    first, second, third = labels // 100, labels // 10 % 10, labels % 10
    for digit in (first, second, third):
        # Of 128,000 draws, five standard deviations are at most 0.0044.
        np.testing.assert_allclose(np.bincount(digit) / len(digit), shares, atol=0.0044)
    for a, b in ((first, second), (first, third), (second, third)):
        joint = np.bincount(10 * a + b, minlength=100).reshape(10, 10) / len(a)
        np.testing.assert_allclose(joint, np.outer(shares, shares), atol=0.0015)


def test_the_draw_is_the_raw_bits_of_pcg64_scaled_down() -> None:
    # By Python's own whole numbers: NumPy's `integers` may change with its version, its raw bits may not.
    raw = [int(bits) for bits in np.random.PCG64(0).random_raw(3)]
    images = (
        np.arange(60_000, dtype=np.uint32).view(np.uint8).reshape(60_000, 2, 2, 1)
    )  # each says its number
    made, _ = stacked(images, np.zeros(60_000, np.uint8), "train")
    drawn = np.ascontiguousarray(made[..., 0]).reshape(-1, 4).view(np.uint32)[:, 0]
    assert drawn[:3].tolist() == [(bits >> 32) * 60_000 >> 32 for bits in raw]
    assert len(np.unique(drawn)) == pytest.approx(60_000 * (1 - np.exp(-128 / 60)), rel=0.01)


@pytest.mark.parametrize(("num", "mean", "sd"), [(26_000, 0.0194, 0.0009), (100_000, 0.0050, 0.0003)])
def test_a_uniform_sampler_has_the_noise_floor_of_its_number_of_samples(
    num: int, mean: float, sd: float
) -> None:
    # Half of χ² with 999 degrees of freedom over n: mean 999/2n, sd √(2·999)/2n, to the first order.
    assert mean == pytest.approx(999 / (2 * num), rel=0.02)
    rng = np.random.default_rng(0)
    found = [mode_kl(rng.integers(1000, size=num)) for _ in range(20)]
    assert np.mean(found) == pytest.approx(mean, abs=2 * sd / np.sqrt(20) + 0.0001)
    assert np.std(found) == pytest.approx(np.sqrt(2 * 999) / (2 * num), rel=0.5)


def test_the_kl_of_half_of_the_modes_is_log_two() -> None:
    assert mode_kl(np.repeat(np.arange(500), 7)) == pytest.approx(np.log(2))
    assert mode_kl(np.zeros(9, int)) == pytest.approx(np.log(1000))
    assert mode_count(np.repeat(np.arange(500), 7)) == 500


def test_it_is_judged_by_the_digits_classifier_and_by_its_modes(train: Split, test: Split) -> None:
    network = choose_network(*train, "stacked_mnist")
    assert (network.name, network.modes) == ("mnist-classifier-by-channel", 1000)
    num = 600
    evaluator = Evaluator(
        test[0][:num], train[0][:num], network=network, families=["classes", "modes"], num=num
    )
    scores = {score.metric: score for score in evaluator.scores(test[0][:num])}
    # "classes" are those of data whose classes are told apart by name; here they are modes.
    assert scores.keys() == {"modes_found", "mode_kl"}
    assert scores["mode_kl"].name == "mode_kl/mnist-classifier-by-channel/600-test"
    # The classifier is right on 98.9% of stacked images, so the labels' own numbers are near.
    assert scores["modes_found"].value == pytest.approx(mode_count(test[1][:num]), abs=10)
    assert scores["mode_kl"].value == pytest.approx(mode_kl(test[1][:num]), abs=0.03)
    assert scores["mode_kl"].noise > 1 + scores["mode_kl"].floor


def test_by_default_26000_samples_are_judged(train: Split, test: Split) -> None:
    assert Evaluator(*(test[0], train[0]), train_labels=train[1], families=["modes"]).num == 26_000


def test_a_thousand_classes_do_not_make_a_grid_of_a_thousand_rows(train: Split) -> None:
    assert facts_of(*train, conditional=True).num_classes == 1000

    class Parts:
        num_classes = 1000
        image_shape = (28, 28, 3)

    assert generate.grid_size(Parts()) == 64  # type: ignore[arg-type]


@pytest.mark.long
def test_a_conditional_run_is_trained_drawn_and_judged(
    in_process: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A tenth of the images, in which every class is still; to judge by all of them would take minutes.
    monkeypatch.setitem(COUNTS, "train", 13_000)
    monkeypatch.setitem(COUNTS, "test", 260)
    flags = ("--dataset=stacked_mnist", "--model=mlp", "--penalty", "--ema=0", "--z_dim=4")
    done = in_process("train", *flags, "--conditional", "--steps=2", "--batch_size=16", "--workdir=w")
    assert done.returncode == 0, done.stderr
    done = in_process("sample", "--workdir=w", "--num=3", "--label=123", "--out=w/some.npz")
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "w" / "some.npz") as some:
        assert some["images"].shape == (3, 28, 28, 3)
        assert some["labels"].tolist() == [123] * 3
    monkeypatch.setitem(COUNTS, "train", 1_300)
    images, labels = data.load("stacked_mnist", "train")
    assert labels is not None
    monkeypatch.setattr(classifier, "STACKED", sha256_of_data(images, labels))
    done = in_process("evaluate", "--workdir=w")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "w" / "evaluation.json").read_text())
    scores = report["scores"]
    assert scores["modes_found/mnist-classifier-by-channel/260-test"]["value"] >= 1
    assert scores["mode_kl/mnist-classifier-by-channel/260-test"]["floor"] > 0
    assert not [name for name in scores if name.startswith("class")]
    assert report["label_accuracy"]["test"] > 0.9
    assert "modes" in done.stdout


def test_the_experiments_systems_are_those_of_its_committed_results() -> None:
    from experiments.stacked_mnist import SYSTEMS, config_of

    found = json.loads((Path(__file__).parent.parent / "experiments/results/stacked_mnist.json").read_text())
    # How often a run writes, an unused length, a name, and what there was not yet: none changes a result.
    free = {"log_every", "checkpoint_every", "epochs", "preset", "augment"}
    assert found["systems"].keys() == SYSTEMS.keys()
    for name, members in found["systems"].items():
        recorded = {"penalty_every": 1, **members[0]["config"]}  # there was no other
        now = json.loads(json.dumps(to_json(config_of(name, recorded["seed"], recorded["steps"]))))
        assert {k: v for k, v in now.items() if k not in free} == {
            k: v for k, v in recorded.items() if k not in free
        }


def test_stacked_images_are_seen_as_their_labels_in_blocks_and_once(
    test: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = (x[:300] for x in test)
    monkeypatch.setattr(stacked_mnist, "BLOCK", 128)
    assert np.mean(stacked_mnist.seen_labels(images) == labels) > 0.97  # three digits at 99.6% each

    monkeypatch.setattr(stacked_mnist, "NUMBERS", (200, 300))
    options = stacked_mnist.Options(workdir=str(tmp_path / "w"))
    found = stacked_mnist.references(options, images)
    counts = np.bincount(labels, minlength=1000)
    shares = counts[counts > 0] / 300
    assert found["real"]["300"][0] == pytest.approx((counts > 0).sum(), abs=5)
    assert found["real"]["300"][1] == pytest.approx(np.sum(shares * np.log(shares * 1000)), abs=0.05)
    mean, deviation = found["uniform"]["300"]
    assert 0 < deviation < 0.2 * mean
    monkeypatch.setattr(stacked_mnist, "seen_labels", None)  # the real ones are taken from the folder
    assert stacked_mnist.references(options, images) == found
