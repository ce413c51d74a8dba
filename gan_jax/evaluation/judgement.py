"""All that there is to say of a set of samples: scores, classes, nearest training images, and a picture."""

from typing import Any, NamedTuple

import numpy as np

from gan_jax import __version__
from gan_jax.evaluation import picture
from gan_jax.evaluation.cache import array_sha256
from gan_jax.evaluation.protocol import Evaluator, choose
from gan_jax.evaluation.scores import Score, Seen
from gan_jax.evaluation.subjects import ImagesFile, TrainedRun
from gan_jax.metrics.modes import class_histogram

NEIGHBOURS = 200  # samples whose nearest training image is looked for


class Judged(NamedTuple):
    """What there is to say of one subject: for the table, for evaluation.json and for evaluation.png."""

    scores: list[Score]
    report: dict[str, Any]
    page: picture.Page


def judge(subject: TrainedRun | ImagesFile, evaluators: list[Evaluator]) -> Judged:
    """Everything there is to say of one subject; the first evaluator's network is the data set's classifier."""
    first = evaluators[0]
    drawn = subject.images(first.num, first.seed)
    images = choose(drawn, first.num, first.seed)
    seen = first.see(images)
    scores = first.scores(drawn, seen)
    for evaluator in evaluators[1:]:
        scores += evaluator.scores(drawn)
    medians, rows = _neighbours(first, images, seen)
    classes = first.real.probabilities.shape[1]
    real_shares, fake_shares = (class_histogram(x.labels, classes) for x in (first.real, seen))
    page = picture.Page(
        title=f"{subject.name}: {scores[0].value:.4g} {scores[0].name} (real train images: {scores[0].floor:.3g})",
        real_shares=real_shares,
        fake_shares=fake_shares,
        neighbours=rows,
        curve=subject.curve(first, scores[0].floor) if isinstance(subject, TrainedRun) else None,
        interpolations=subject.interpolations(first.seed) if isinstance(subject, TrainedRun) else None,
    )
    report: dict[str, Any] = {
        "gan_jax": __version__,
        "source": {**subject.source, "images_sha256": array_sha256(images)},
        "dataset": subject.dataset,
        "scores": {score.name: score.to_json() for score in scores},
        "class_shares": {"samples": fake_shares.tolist(), "test": real_shares.tolist()},
        "nearest_train_image": medians,
    }
    if (labels := subject.labels(first.num)) is not None:
        report["label_accuracy"] = _label_accuracy(first, seen, choose(labels, first.num, first.seed))
    return Judged(scores, report, page)


def _label_accuracy(evaluator: Evaluator, seen: Seen, labels: np.ndarray) -> dict[str, Any]:
    """Shares of a conditional run's samples that the classifier takes for what they were to be, and of test images."""
    real = evaluator.real.labels == evaluator.test_labels
    right = seen.labels == labels
    by_class = [float(right[labels == label].mean()) for label in np.unique(labels)]
    return {"samples": float(right.mean()), "by_class": by_class, "test": float(real.mean())}


def _neighbours(
    evaluator: Evaluator, images: np.ndarray, seen: Seen
) -> tuple[dict[str, Any], list[picture.ShownRow]]:
    """Median distances of samples, and of test images, to the nearest train image; and rows to draw.

    Samples that are nearer than real test images are have been copied.
    """
    num, columns = min(NEIGHBOURS, len(images)), picture.COLUMNS
    part = lambda seen: Seen(seen.features[:num], seen.probabilities[:num])
    rows = [picture.ShownRow("samples", images[:columns], [""] * columns)]
    medians: dict[str, Any] = {"of": num}
    for space, samples, test in (
        (
            "pixel",
            evaluator.nearest_pixels(images[:num]),
            evaluator.nearest_pixels(evaluator.test_images[:num]),
        ),
        ("feature", evaluator.nearest(part(seen)), evaluator.nearest(part(evaluator.real))),
    ):
        sample_median, test_median = (float(np.median(found.distances)) for found in (samples, test))
        medians[f"{space}_distance"] = {"samples": sample_median, "test": test_median}
        title = f"nearest train\nimages, by {space}\nmedian {sample_median:.3g}\n(test: {test_median:.3g})"
        captions = [f"{distance:.2f}" for distance in samples.distances[:columns]]
        rows.append(picture.ShownRow(title, evaluator.train_images[samples.indices[:columns]], captions))
    return medians, rows
