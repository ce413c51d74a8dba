"""Which network gives the features of a data set."""

import numpy as np

from gan_jax.errors import UserError
from gan_jax.features.classifier import load_classifier
from gan_jax.features.network import FeatureNetwork
from gan_jax.features.random_net import random_network


def choose_network(
    train_images: np.ndarray,
    train_labels: np.ndarray | None,
    name: str,
    *,
    wanted: str = "auto",
    train_with: str = "python -m gan_jax.train_classifier",
) -> FeatureNetwork:
    """The classifier of these images uint8 [N,H,W,C] and labels [N], or the random net.

    Args:
      name: of the data, for a classifier's name.
      wanted: "auto" (the classifier if there is one), "classifier" or "random".
      train_with: the command that makes the classifier, for the error.

    Raises:
      UserError: for a damaged classifier; where one is wanted and there is none.
    """
    if wanted == "random":
        return random_network(train_images.shape[1:])
    found = None if train_labels is None else load_classifier(train_images, train_labels, name)
    if found is None and wanted == "classifier":
        if train_labels is None:
            raise UserError(f"{name} has no labels, so no classifier: take --features=random.")
        raise UserError(
            f"{name} has no classifier yet: make it with `{train_with}`, or take --features=random."
        )
    return found or random_network(train_images.shape[1:])
