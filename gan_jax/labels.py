"""Whether labels can be counted by: the rule for all that learns classes, a conditional GAN or a classifier."""

import numpy as np

from gan_jax.errors import UserError

NAMED = 3  # of the missing labels


def check_without_gaps(labels: np.ndarray) -> None:
    """Raises `UserError` unless each number from 0 to the highest label [N] is some image's label.

    A net has as many classes as the highest label says, and would have those that no image has without a word.
    """
    present = np.unique(labels)
    classes, highest = len(present), int(present[-1])
    if classes == highest + 1:
        return
    # So many numbers hold the first gaps. All up to the highest might fill the memory, where labels are ids.
    first = np.setdiff1d(np.arange(min(highest, classes + NAMED)), present)
    named = ", ".join(map(str, first[:NAMED])) + (", …" if highest + 1 - classes > NAMED else "")
    raise UserError(
        f"the labels go up to {highest} and no image has {named}: number the classes 0 to {classes - 1}, as "
        "np.unique(labels, return_inverse=True)[1] does."
    )
