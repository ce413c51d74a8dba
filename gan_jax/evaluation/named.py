"""The Evaluator of a data set, by its name or by the path of own images."""

from pathlib import Path
from typing import Any

from gan_jax.data import are_points
from gan_jax.evaluation.mixtures import MixtureEvaluator
from gan_jax.evaluation.protocol import Evaluator
from gan_jax.evaluation.reals import Reals, Source, load_reals

Judge = Evaluator | MixtureEvaluator


def evaluator_for(
    dataset: str,
    data_dir: str | Path | None = None,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    **options: Any,
) -> Judge:
    """The Evaluator of a data set by its name, or of own images by their path; `options` are `Evaluator`'s.

    Of a mixture it is a `MixtureEvaluator`. Raises:
      UserError: as `data.load` and the Evaluator.
    """
    return evaluator_of(load_reals(Source(dataset, image_size, channels), data_dir), **options)


def evaluator_of(reals: Reals, **options: Any) -> Judge:
    """The Evaluator of both splits. Of `options` one of a mixture takes `num` and `seed`."""
    if are_points(reals.train_images.shape[1:]):
        taken = {name: options[name] for name in ("num", "seed") if name in options}
        return MixtureEvaluator(reals.train_images, name=reals.name, **taken)
    return Evaluator(
        reals.test_images,
        reals.train_images,
        test_labels=reals.test_labels,
        train_labels=reals.train_labels,
        name=reals.name,
        **options,
    )
