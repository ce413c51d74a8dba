"""The samples by which a run is judged: of a conditional GAN in the shares of real labels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gan_jax
from gan_jax import data
from gan_jax.comparison import results, scoring
from gan_jax.comparison.scoring import scores_of
from gan_jax.config import Config
from gan_jax.evaluation import Evaluator
from gan_jax.evaluation.samples import classes_like, samples_like
from gan_jax.evaluation.subjects import JudgedRun
from gan_jax.features.choice import choose_network
from gan_jax.features.random_net import random_network
from gan_jax.loop import Loop

Small = Callable[..., Config]
IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
LABELS = np.repeat([0, 1, 2], [30, 8, 2])


@pytest.fixture
def gans(small: Small) -> tuple[gan_jax.Gan, gan_jax.Gan]:
    """Without labels and with them."""
    configs = (small(steps=1), small(steps=1, conditional=True))
    plain, conditional = (next(iter(gan_jax.fit(config, IMAGES, LABELS))) for config in configs)
    return plain, conditional


def test_classes_have_the_shares_of_the_labels(gans: tuple[gan_jax.Gan, gan_jax.Gan]) -> None:
    plain, conditional = gans
    assert classes_like(plain.parts, 20, LABELS) is None
    for num, counts in ((40, [30, 8, 2]), (20, [15, 4, 1]), (400, [300, 80, 20])):
        found = classes_like(conditional.parts, num, LABELS)
        assert found is not None
        assert np.bincount(found, minlength=3).tolist() == counts
    few = classes_like(conditional.parts, 400, np.random.default_rng(1).permutation(LABELS))
    assert few is not None
    np.testing.assert_array_equal(few, found)  # whatever the order of the labels
    assert (np.bincount(few[:100], minlength=3) > [60, 10, 1]).all()  # mixed
    for num, counts in ((10, [7, 2, 1]), (4, [2, 1, 1]), (3, [1, 1, 1]), (2, [1, 1, 0])):
        # A rare class is there, where there is room for it.
        rare = classes_like(conditional.parts, num, LABELS)
        assert rare is not None
        assert np.bincount(rare, minlength=3).tolist() == counts
    in_turn = classes_like(conditional.parts, 6, None)
    assert in_turn is not None
    assert in_turn.tolist() == [0, 1, 2, 0, 1, 2]


def test_labels_that_the_gan_does_not_know_are_left_out(gans: tuple[gan_jax.Gan, gan_jax.Gan]) -> None:
    _, conditional = gans
    found = classes_like(conditional.parts, 20, np.repeat([0, 2, 7], [15, 5, 50]))
    assert found is not None
    assert np.bincount(found).tolist() == [15, 0, 5]
    others = classes_like(conditional.parts, 6, np.full(9, 7))
    assert others is not None
    assert others.tolist() == [0, 1, 2, 0, 1, 2]


def test_whoever_judges_a_conditional_gan_takes_them(
    small: Small, gans: tuple[gan_jax.Gan, gan_jax.Gan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, conditional = gans
    judged: list[np.ndarray] = []
    monkeypatch.setattr(Evaluator, "frechet", lambda self, images: float(judged.append(images) or 1))
    monkeypatch.setattr(Evaluator, "scores", lambda self, images, seen: judged.append(images) or [])
    families = ("density and coverage",)
    judge = Evaluator(
        IMAGES,
        IMAGES,
        train_labels=LABELS,
        network=random_network(IMAGES.shape[1:]),
        num=30,
        families=families,
    )
    expected = samples_like(conditional, 30, judge.seed, LABELS)

    run: Any = object.__new__(JudgedRun)
    run.gan = conditional
    np.testing.assert_array_equal(run.images(judge), expected)
    assert np.bincount(run.labels(judge)).tolist() == [22, 6, 2]

    loop: Any = object.__new__(Loop)
    loop._evaluator, loop._clock = judge, 0.0
    loop._evaluate(conditional)
    population = next(iter(gan_jax.fit_population([small(steps=1, conditional=True)], IMAGES, LABELS)))
    scores_of(population, judge, tmp_path)
    np.testing.assert_array_equal(judged[0], expected)
    np.testing.assert_array_equal(judged[1], samples_like(population[0], 30, judge.seed, LABELS))
    equal = Evaluator(IMAGES, IMAGES, network=random_network(IMAGES.shape[1:]), num=30, families=families)
    scores_of(population, equal, tmp_path)  # the classes are others
    np.testing.assert_array_equal(judged[2], population[0].sample(30, judge.seed))


def test_samples_are_those_that_sample_draws_of_these_classes(gans: tuple[gan_jax.Gan, gan_jax.Gan]) -> None:
    plain, conditional = gans
    np.testing.assert_array_equal(samples_like(plain, 9, 5, LABELS), plain.sample(9, 5))
    np.testing.assert_array_equal(samples_like(conditional, 9, 5, None), conditional.sample(9, 5))
    found, classes = samples_like(conditional, 9, 5, LABELS), classes_like(conditional.parts, 9, LABELS)
    for label in np.unique(classes):
        alike = conditional.sample(9, 5, int(label))
        np.testing.assert_array_equal(found[classes == label], alike[classes == label])


def test_a_comparison_has_the_share_of_the_class_asked_for(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, all_labels = data.load("mnist", "train")
    network = choose_network(images, all_labels, "mnist")
    real, labels = images[:200], all_labels[:200]
    judge = Evaluator(real, real, train_labels=labels, network=network, num=100, families=("classes",))
    population = next(iter(gan_jax.fit_population([small(steps=1, conditional=True)], real, labels)))
    asked = classes_like(population.parts, 100, labels)
    assert asked is not None
    of = {int(label): real[labels == label] for label in np.unique(labels)}
    drawn = np.stack([of[7 if label == 3 else label][0] for label in asked])  # every three is a seven
    monkeypatch.setattr(scoring, "samples_for", lambda judge, gan: drawn)
    found = scores_of(population, judge, tmp_path)
    assert found.scores[0]["label_accuracy"] == np.mean(asked != 3)
    results.write(tmp_path, {"hinge": found}, judge, dataset="mnist")
    lines = (tmp_path / "report.md").read_text().splitlines()
    head, row, floor = (
        next(line for line in lines if line.startswith(f"| {name} "))
        for name in ("system", "hinge", "real train images")
    )
    column = head.split(" | ").index("class asked for")
    assert row.split(" | ")[column] == f"{np.mean(asked != 3):.4g}"
    assert floor.count("|") == head.count("|")
    assert "The classifier gives" not in (tmp_path / "report.md").read_text()  # no labels of test images
    wrong = np.where(np.arange(200) < 50, (labels + 1) % 10, labels)
    knowing = Evaluator(real, real, test_labels=wrong, network=network, num=200, families=("classes",))
    results.write(tmp_path, {"hinge": found}, knowing, dataset="mnist")
    report = (tmp_path / "report.md").read_text()
    assert "\n\nThe classifier gives 75.00% of the real test images their own class.\n\n" in report

    plain = scores_of(next(iter(gan_jax.fit_population([small(steps=1)], real))), judge, tmp_path)
    assert "label_accuracy" not in plain.scores[0]
    for both in ({"with": found, "without": plain}, {"without": plain, "with": found}):
        results.write(tmp_path, both, judge, dataset="mnist")  # one has what the other lacks
        assert "class asked for" in (tmp_path / "report.md").read_text()
        assert "have both come to the end" not in (tmp_path / "report.md").read_text()
