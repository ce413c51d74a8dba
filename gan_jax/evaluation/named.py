"""The Evaluator of a data set, by its name or by the path of own images."""

from pathlib import Path
from typing import Any

from gan_jax.evaluation.protocol import Evaluator
from gan_jax.evaluation.reals import Reals, Source, load_reals


def evaluator_for(
    dataset: str,
    data_dir: str | Path | None = None,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    **options: Any,
) -> Evaluator:
    """The Evaluator of a data set by its name, or of own images by their path; `options` are `Evaluator`'s.

    Raises:
      UserError: as `data.load` and `Evaluator`.
    """
    return evaluator_of(load_reals(Source(dataset, image_size, channels), data_dir), **options)


def evaluator_of(reals: Reals, **options: Any) -> Evaluator:
    """The Evaluator of both splits."""
    return Evaluator(
        reals.test_images,
        reals.train_images,
        test_labels=reals.test_labels,
        train_labels=reals.train_labels,
        name=reals.name,
        **options,
    )
