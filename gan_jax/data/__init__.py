"""Images as uint8 arrays with their labels: datasets by name, and a user's own in a FILE.npz or a FOLDER.

Those with a name come in the order of their original files, which are downloaded and prepared at the first load.
"""

import os
from pathlib import Path

import numpy as np

from gan_jax.data import own
from gan_jax.data.mixtures import MIXTURES, Mixture
from gan_jax.data.originals import SPLITS
from gan_jax.data.registry import DATASETS, Loader, Split
from gan_jax.data.scaling import are_points, shape_words, to_data, to_float, to_uint8
from gan_jax.errors import UserError, nearest, unknown

__all__ = [
    "DATASETS",
    "MIXTURES",
    "Loader",
    "Mixture",
    "are_points",
    "dataset_name",
    "held_out_note",
    "load",
    "own_path",
    "shape_words",
    "to_data",
    "to_float",
    "to_uint8",
]


def load(
    name: str | Path,
    split: str,
    data_dir: str | Path | None = None,
    *,
    image_size: int | None = None,
    channels: int | None = None,
) -> Split:
    """Images uint8 [N, H, W, C] and labels int32 [N] of a split; None for labels that there are not.

    The mixtures ring8 and grid25 are points float32 [N, 2] instead, labelled by their modes.

    Args:
      name: one of `DATASETS`, or the path of an .npz file or of a folder of images.
      split: "train" or "test".
      data_dir: for a name, a folder with the original files, directly or in its subfolder `name`; it is only
        read. Its files are checked at each call. Those it lacks are taken from the package or downloaded.
      image_size: for a path, the height and width to resize the images to.
      channels: for a path, 1 to make the images grey or 3 to make them coloured.

    Raises:
      UserError: an unknown name or split, an argument that does not go with `name`, a file or a folder that is
        missing or damaged, or a cache folder that cannot be written.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    path = own_path(name)
    if path is not None:
        if data_dir is not None:
            raise UserError(f"data_dir is for the datasets with a name: leave --data_dir out for '{name}'.")
        return own.load_own(path, split, image_size, channels)
    for option, value in {"image_size": image_size, "channels": channels}.items():
        if value is not None:
            raise UserError(
                f"--{option}={value} is for own images, a FILE.npz or a FOLDER: leave it out for '{name}'."
            )
    found = DATASETS[str(name)](split, data_dir)
    if not isinstance(found, tuple) or len(found) != 2 or found[0] is None:
        raise UserError(
            f"--dataset={name}: its function must give a pair (images, labels), where labels may be None, and gave "
            f"{type(found).__name__}."
        )
    images, labels = found
    return np.asarray(images), None if labels is None else np.asarray(labels)


def dataset_name(name: str | Path) -> str:
    """The name of a registered dataset, or that of the .npz file, without its ending, or of the folder."""
    if name in DATASETS:
        return str(name)
    path = Path(os.path.abspath(os.path.expanduser(name)))
    return (path.stem if path.suffix.lower() == ".npz" else path.name) or "images"


def held_out_note(name: str | Path) -> str | None:
    """A line on own images: how many of what kind there are, and which are held out; None for a registered name.

    All that is read of them is their names or headers, their labels, and the first image of a folder.

    Raises:
      UserError: as `load`.
    """
    path = own_path(name)
    return own.split_note(path) if path else None


def own_path(name: str | Path) -> Path | None:
    """The path of own images; None for a registered name. Raises UserError if `name` is neither."""
    if name in DATASETS:
        return None
    path = Path(os.path.expanduser(name))
    if str(name) and os.path.exists(path):
        return path
    if isinstance(name, Path) or os.sep in name or path.suffix.lower() == ".npz":
        raise UserError(f"dataset '{name}': there is no such file or folder.")
    hint = nearest(name, DATASETS)
    raise unknown(
        "dataset", name, [*DATASETS, "a FILE.npz", "a FOLDER of images"], hint and f"Did you mean '{hint}'?"
    )
