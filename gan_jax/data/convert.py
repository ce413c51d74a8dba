"""From pictures to one uint8 array: their mode and size, many threads at it, and the limits that hold."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from gan_jax import storage
from gan_jax.errors import UserError
from gan_jax.storage import content_of

SIZES = range(8, 129)  # the heights and widths that the nets are made for
MODES = {1: "L", 3: "RGB"}
AT_ONCE = 4096  # pictures given to the threads: a future for each of millions would fill the memory
MAX_PIXELS = 89_478_485  # Pillow's own: more is taken for a decompression bomb
# What Pillow raises for a file that is not as it should be.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


def check_request(image_size: int | None, channels: int | None) -> None:
    """Raise UserError unless images can be brought to these; None leaves them as they are."""
    if image_size is not None and image_size not in SIZES:
        raise UserError(f"image_size is {image_size}: it must be from {SIZES[0]} to {SIZES[-1]}.")
    if channels is not None and channels not in MODES:
        raise UserError(f"channels is {channels}: it must be 1 (grey) or 3 (colour).")


def check_shape(shape: tuple[int, ...], source: str) -> None:
    """Raise UserError unless the nets can make images of this shape [H, W, C]; `source` says whose it is."""
    height, width, channels = shape
    if height not in SIZES or width not in SIZES:
        raise UserError(
            f"{source}: images are {height}×{width}, and must be from {SIZES[0]} to {SIZES[-1]} high and "
            "wide: pass --image_size=32, for one."
        )
    if channels not in MODES:
        raise UserError(f"{source}: images have {channels} channels, and must have 1 or 3.")


def check_memory(needed: int, source: str) -> None:
    """Raise UserError if `needed` bytes are more than half of the memory: the other half is for the work."""
    available = storage.available_memory()
    if needed > available // 2:
        raise UserError(
            f"{source}: the images take {_size(needed)} of memory, and at most half of the {_size(available)} "
            "that are free may be taken: give fewer images, a smaller --image_size or --channels=1."
        )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def fitted(image: Image.Image, image_size: int | None, channels: int | None) -> np.ndarray:
    """An image of mode L or RGB as uint8 [H, W, C], of these sizes unless they are None.

    Grey is the luminance of ITU-R 601. Lanczos's filter widens as it shrinks a picture, so nothing aliases.
    A picture that is no square is stretched to one: none of it is cut off.
    """
    if channels is not None and image.mode != MODES[channels]:
        image = image.convert(MODES[channels])
    if image_size is not None and image.size != (image_size, image_size):
        image = image.resize((image_size, image_size), Image.Resampling.LANCZOS)
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def decode(file: Path, image_size: int | None, channels: int | None) -> np.ndarray:
    """The image in a PNG or JPEG file as uint8 [H, W, C], of these sizes unless they are None.

    Raises:
      UserError: if it is damaged, of another type or a decompression bomb.
    """
    try:
        # All of it first: of a file, a damaged length field would ask for more memory than there is.
        with Image.open(io.BytesIO(content_of(file)), formats=("PNG", "JPEG")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError(f"{image.width}×{image.height} pixels")
            picture = _plain(image)
    except DAMAGE as error:
        reason = " ".join(str(error).replace(str(file), "the file").split())[:100] or type(error).__name__
        raise UserError(
            f"{str(file)!r} is damaged or no PNG or JPEG ({reason}): replace or remove it."
        ) from None
    return fitted(picture, image_size, channels)


def _plain(image: Image.Image) -> Image.Image:
    """An image as the camera was held, of mode L if the file's is grey and else RGB.

    What is transparent lies on black, the background of MNIST and its like. Of 16 bits the upper 8 are taken, as Pillow
    does for colour.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int32)
        clear = image.info.get("transparency")  # Pillow makes no alpha of it
        return Image.fromarray(np.where(values == clear, 0, values >> 8).clip(0, 255).astype(np.uint8))
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    return image.convert(mode)


def stack(count: int, shape: tuple[int, ...], one: Callable[[int], np.ndarray], name: str) -> np.ndarray:
    """uint8 [count, *shape], image i being `one(i)`; on many threads, with a bar on a terminal.

    An error of `one` is raised, of several that of the lowest i.
    """
    images = np.empty((count, *shape), np.uint8)

    def put(index: int) -> None:
        images[index] = one(index)

    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(desc=f"{name}: decoding", total=count, unit="image", disable=None) as bar,
    ):
        for start in range(0, count, AT_ONCE):
            for _ in pool.map(put, range(start, min(start + AT_ONCE, count))):
                bar.update()
    return images
