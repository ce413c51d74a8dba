"""What every metric asks of its input, before any arithmetic: shape, width, count and finite values.

A metric that goes on without them returns a number all the same, and a plausible one.
"""

import numpy as np

from gan_jax.errors import UserError


def checked(name: str, values: np.ndarray, needed: int, why: str) -> np.ndarray:
    """Return `values` [n, d] in float64, or refuse them.

    Raises:
      UserError: unless there are two axes, finite values and at least `needed` rows.
    """
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[1] == 0:
        raise UserError(f"{name} must have shape [n, d], not {array.shape}.")
    if len(array) < needed:
        raise UserError(f"{name} holds {len(array)} samples; at least {needed} are needed ({why}).")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).any(axis=1).sum())
        raise UserError(f"{name} has NaN or infinite values in {bad} of {len(array)} samples.")
    return array


def checked_pair(real: np.ndarray, fake: np.ndarray, needed: int, why: str) -> tuple[np.ndarray, np.ndarray]:
    """Return real [n, d] and fake [m, d] features in float64, or refuse them.

    Raises:
      UserError: as `checked`, or where the widths differ.
    """
    real, fake = checked("real", real, needed, why), checked("fake", fake, needed, why)
    if real.shape[1] != fake.shape[1]:
        raise UserError(
            f"real has {real.shape[1]} features and fake {fake.shape[1]}: use one network for both."
        )
    return real, fake
