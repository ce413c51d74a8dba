"""Images to judge, from an .npz that any program may have written."""

from pathlib import Path

import numpy as np

from gan_jax import storage
from gan_jax.data import are_points
from gan_jax.errors import UserError


def read_images(path: Path, shape: tuple[int, ...], num: int) -> np.ndarray:
    """The array `images`, uint8 [N, *shape], of an .npz file; at least `num` of them.

    A single channel's axis may be missing. Points [N, 2] are floats.

    Raises:
      UserError: for anything else.
    """
    try:
        arrays = storage.read_npz(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error
    except storage.Damaged as error:
        raise UserError(f"{path} is damaged or no .npz file of plain arrays ({error}).") from error
    if "images" not in arrays:
        raise UserError(f"{path} has no array 'images'; it has: {', '.join(arrays) or 'none'}.")
    images = arrays["images"]
    if images.ndim == 3 and shape[-1] == 1:  # many programs leave out a single channel
        images = images[..., None]
    kind: type[np.generic] = np.floating if are_points(shape) else np.uint8
    wanted = f"{'finite floats' if are_points(shape) else 'uint8'} [N,{','.join(map(str, shape))}]"
    fits = np.issubdtype(images.dtype, kind) and images.shape[1:] == shape
    if not fits or not np.isfinite(images).all():
        raise UserError(f"{path}: 'images' must be {wanted}, not {images.dtype} {list(images.shape)}.")
    if len(images) < num:
        raise UserError(
            f"{path} holds {len(images)} images, fewer than --num={num}: add more, or lower --num."
        )
    return images
