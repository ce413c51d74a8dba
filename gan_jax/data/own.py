"""A user's own images: an .npz file with `images` and, if there are any, `labels`."""

from pathlib import Path

import numpy as np

from gan_jax.errors import UserError

Arrays = tuple[np.ndarray, np.ndarray | None]


def load(path: Path, split: str, image_size: int | None, channels: int | None) -> Arrays:
    """Images uint8 [N, H, W, C] and labels int32 [N], or None, of a split of the file or folder at `path`."""
    raise UserError(f"'{path}': own images are not read yet.")


def held_out_note(path: Path, image_size: int | None, channels: int | None) -> str | None:
    """A sentence if the test split of the images at `path` was held out of them, else None."""
    return None
