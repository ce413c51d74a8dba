"""All that there is to say of a set of samples: scores, classes, nearest training images, and a picture."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gan_jax import __version__
from gan_jax.evaluation import picture, table
from gan_jax.evaluation.neighbours import NEIGHBOURS
from gan_jax.evaluation.protocol import Evaluator, choose
from gan_jax.evaluation.scores import FRECHET, LABEL_ACCURACY, Score, Seen
from gan_jax.evaluation.subjects import JudgedFile, JudgedRun
from gan_jax.metrics import class_histogram
from gan_jax.storage import sha256_of_arrays


class Judged(NamedTuple):
    """What there is to say of one subject: for the table, for evaluation.json and, by `draw`, for evaluation.png."""

    scores: list[Score]
    report: dict[str, Any]
    draw: Callable[[Path], None]


def judge(subject: JudgedRun | JudgedFile, evaluators: list[Evaluator]) -> Judged:
    """Everything there is to say of one subject; classes and neighbours are as the first evaluator's network has it."""
    first = evaluators[0]
    drawn = subject.images(first)
    images = choose(drawn, first.num, first.seed)
    seen = first.see(images)
    scores = first.scores(drawn, seen)
    for evaluator in evaluators[1:]:
        scores += evaluator.scores(drawn)
    medians, rows = _neighbours(first, images, seen)
    shares = _class_shares(first, seen)
    page = picture.Page(
        title=f"{subject.caption}, against test images of {first.dataset}",
        protocol="\n".join({table.protocol(score): None for score in scores}),
        scores=scores,
        shares=shares,
        neighbours=rows,
        curve=_curve(subject, first, scores),
        interpolations=subject.interpolations(first.seed) if isinstance(subject, JudgedRun) else None,
        classes=subject.path_classes() if isinstance(subject, JudgedRun) else None,
    )
    report: dict[str, Any] = {
        "gan_jax": __version__,
        "source": {**subject.source, "images_sha256": sha256_of_arrays({"images": images})},
        "dataset": first.dataset,
        "scores": {score.name: score.to_json() for score in scores},
        "left_out": {e.name(family): why for e in evaluators for family, why in e.left_out.items()},
        "nearest_train_image": medians,
    }
    if shares is not None:
        report["class_shares"] = {"samples": shares.fake.tolist(), "test": shares.real.tolist()}
    labels = subject.labels(first)
    if labels is not None and first.network.judges_labels:
        report[LABEL_ACCURACY] = _label_accuracy(first, seen, choose(labels, first.num, first.seed))
    return Judged(scores, report, partial(picture.save, page))


def _curve(
    subject: JudgedRun | JudgedFile, evaluator: Evaluator, scores: list[Score]
) -> picture.Curve | None:
    if not isinstance(subject, JudgedRun) or FRECHET in evaluator.left_out:
        return None
    floors = [score.floor for score in scores if score.name == evaluator.name("frechet_distance")]
    return subject.curve(evaluator, floors[0]) if floors else None


def _class_shares(evaluator: Evaluator, seen: Seen) -> picture.ClassShares | None:
    if not evaluator.network.judges_labels or evaluator.network.modes:  # too many to draw
        return None
    classes = evaluator.network.classes
    return picture.ClassShares(
        *(class_histogram(x.labels, classes) for x in (evaluator.statistics.test, seen))
    )


def _label_accuracy(evaluator: Evaluator, seen: Seen, labels: np.ndarray) -> dict[str, Any]:
    """Shares of a conditional run's samples that the classifier takes for what they were to be, and of test images."""
    by_class = {
        str(label): float(np.mean(seen.labels[labels == label] == label)) for label in np.unique(labels)
    }
    found: dict[str, Any] = {"samples": evaluator.label_accuracy(seen, labels), "by_class": by_class}
    if (real := evaluator.label_accuracy_of_test()) is not None:
        found["test"] = real
    return found


def _neighbours(
    evaluator: Evaluator, images: np.ndarray, seen: Seen
) -> tuple[dict[str, Any], list[picture.ImageRow]]:
    """Median distances of samples, and of test images, to the nearest train image; and rows to draw.

    Samples that are nearer than real test images are have been copied.
    """
    num, columns = min(NEIGHBOURS, len(images)), picture.COLUMNS
    pixel_test, feature_test = evaluator.nearest_of_test
    rows = [picture.ImageRow("samples", images[:columns], [""] * columns)]
    medians: dict[str, Any] = {"of": num}
    for space, samples, test in (
        ("pixel", evaluator.nearest_pixels(images[:num]), pixel_test),
        ("feature", evaluator.nearest(Seen(seen.features[:num])), feature_test),
    ):
        sample_median, test_median = (float(np.median(found.distances)) for found in (samples, test))
        medians[f"{space}_distance"] = {"samples": sample_median, "test": test_median}
        title = f"nearest train\nimages, by {space}\nmedian {sample_median:.3g}\n(test: {test_median:.3g})"
        captions = [f"{distance:.3g}" for distance in samples.distances[:columns]]
        rows.append(picture.ImageRow(title, evaluator.train_images[samples.indices[:columns]], captions))
    return medians, rows
