"""Images to judge, from an .npz that any program may have written."""

from pathlib import Path

import numpy as np

from gan_jax.errors import UserError
from gan_jax.features.classifier import NPZ_DAMAGE


def read_images(path: Path, shape: tuple[int, ...], num: int) -> np.ndarray:
    """The array `images`, uint8 [N, *shape], of an .npz file; at least `num` of them.

    A single channel's axis may be missing.

    Raises:
      UserError: for anything else.
    """
    try:
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise UserError(
                    f"{path} holds a single array: write it with np.savez({path.stem!r}, images=…)."
                )
            if "images" not in file.files:
                raise UserError(f"{path} has no array 'images'; it has: {', '.join(file.files) or 'none'}.")
            images = file["images"]
    except UserError:
        raise
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error
    except NPZ_DAMAGE as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{path} is damaged or no .npz file of plain arrays ({reason}).") from error
    if images.ndim == 3 and shape[-1] == 1:  # many programs leave out a single channel
        images = images[..., None]
    wanted = f"uint8 [N,{','.join(map(str, shape))}]"
    if images.dtype != np.uint8 or images.shape[1:] != shape:
        raise UserError(f"{path}: 'images' must be {wanted}, not {images.dtype} {list(images.shape)}.")
    if len(images) < num:
        raise UserError(
            f"{path} holds {len(images)} images, fewer than --num={num}: add more, or lower --num."
        )
    return images
