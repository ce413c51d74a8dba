"""Pictures of images and of curves."""

import math
import textwrap
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gan_jax.errors import UserError, printable
from gan_jax.storage import content_of

GAP = 2  # pixels between the images of a mosaic
SLIDE = 720  # pixels of a picture on a slide
SCORES, NORMS = "D's mean score (½: cannot tell)", "norm of the gradient"  # titles of curves
FEW_ROWS = 30  # of a log, whose points are marked: one alone makes no line


def mosaic_size(rows: int, columns: int, height: int, width: int, gap: int = GAP) -> tuple[int, int]:
    """Width and height of a mosaic of images H × W."""
    return columns * (width + gap) + gap, rows * (height + gap) + gap


def mosaic(images: np.ndarray, columns: int | None = None, gap: int = GAP) -> np.ndarray:
    """Images uint8 [N, H, W, C] as one picture [rows·(H+gap)+gap, columns·(W+gap)+gap, C], on black.

    `columns` is ⌈√N⌉ unless given.
    """
    num, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(num))
    rows = -(-num // columns)
    across, down = mosaic_size(rows, columns, height, width, gap)
    picture = np.zeros((down, across, channels), np.uint8)
    for i, image in enumerate(images):
        top, left = (gap + i // columns * (height + gap), gap + i % columns * (width + gap))
        picture[top : top + height, left : left + width] = image
    return picture


def grid(images: np.ndarray, columns: int | None = None) -> Image.Image:
    """A mosaic of uint8 images [N, H, W, 1 or 3], which a notebook shows; ⌈√N⌉ columns unless given."""
    picture = mosaic(images, columns)
    return Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)


def enlarged(picture: Image.Image, scale: int) -> Image.Image:
    """Each pixel as a square of scale × scale: crisp where a viewer's own enlargement blurs."""
    if scale == 1:
        return picture
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def slide_scale(size: tuple[int, int]) -> int:
    """The scale by which a picture of this width and height comes nearest to the pixels that a slide has for it."""
    return max(1, round(SLIDE / max(size)))


GREYS = 32  # of a GIF: no eye tells them from 256, which take twice the bytes
FILMS = {".gif": "GIF", ".webp": "WEBP"}  # ending -> Pillow's name for what it stands for
# Ending -> a frame's pixels at most: on a side, as the format has it, and in all. Pillow, which compares the frames of
# a GIF, takes larger ones for decompression bombs.
MOST_PIXELS = {".gif": (2**16 - 1, 178_956_970), ".webp": (2**14 - 1, (2**14 - 1) ** 2)}


def check_film(ending: str, size: tuple[int, int], lower: str) -> None:
    """Raises `UserError` for frames of a width and height that no such film has; it says what to `lower`."""
    (width, height), (longest, most) = size, MOST_PIXELS[ending]
    if max(size) <= longest and width * height <= most:
        return
    bound = f"{longest:,} pixels on a side" if max(size) > longest else f"{most:,} pixels"
    raise UserError(
        f"a {ending} has at most {bound}, and these frames have {width:,} × {height:,}: lower {lower}."
    )


def write_film(path: Path, kind: str, frames: Sequence[Image.Image], milliseconds: Sequence[int]) -> None:
    """A film that starts over and over, as a WebP without loss or as a GIF, which has `GREYS` or 256 colours.

    frames: of one size. milliseconds: how long each is shown; a GIF knows tens of them.
    """
    exact = {"lossless": True, "method": 2} if kind == "WEBP" else {}
    first, *rest = frames if exact else map(fewer_greys, frames)
    first.save(path, kind, save_all=True, append_images=rest, duration=list(milliseconds), loop=0, **exact)


def fewer_greys(picture: Image.Image) -> Image.Image:
    """A grey picture in `GREYS` even ones from black to white; others as they are."""
    if picture.mode != "L":
        return picture
    steps = GREYS - 1
    return picture.point([round(round(level * steps / 255) * 255 / steps) for level in range(256)])


_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def whole(path: Path) -> bool:
    """Whether there is a PNG, written to its end, whose parts have the checksums that they carry."""
    try:
        content = content_of(path)
    except OSError:
        return False
    at = len(_SIGNATURE)
    if not content.startswith(_SIGNATURE):
        return False
    while at < len(content):  # a part: its length, its name and data, their CRC
        end = at + 8 + int.from_bytes(content[at : at + 4], "big")
        if zlib.crc32(content[at + 4 : end]) != int.from_bytes(content[end : end + 4], "big"):
            return False
        if content[at + 4 : at + 8] == b"IEND":
            return end + 4 == len(content)
        at = end + 4
    return False


def panels(rows: Sequence[dict[str, Any]]) -> list[tuple[str, dict[str, str]]]:
    """What a log's curves are: the title of each panel, and the columns in it with what each is called."""
    last = rows[-1] if rows else {}
    names = {"d_loss": "D loss", "g_loss": "G loss"}
    names |= {name: name.replace("_", " ") for name in last if name.endswith("_penalty")}
    found = [("loss", names), (SCORES, {"real_score": "on real", "fake_score": "on generated"})]
    norms = {"d_gradient_norm": "of D", "g_gradient_norm": "of G"}
    return found + ([(NORMS, norms)] if norms.keys() <= last.keys() else [])


def plot_losses(rows: Sequence[dict[str, Any]], path: Path, title: str) -> None:
    """Both losses, the penalties, and D's mean score on real and fake, over the steps of a run, as a PNG.

    The gradients' norms are below, where they were logged. The axes show what most steps are like: a spike of a few,
    such as a diverging run's last ones, is cut off.
    """
    # Imported here: it takes half a second, which the start of a run should not wait for.
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    steps = [row["step"] for row in rows]
    drawn = panels(rows)
    marker = "." if len(rows) < FEW_ROWS else None
    figure = Figure(figsize=(9, 3 * len(drawn)), layout="constrained")
    figure.suptitle(
        textwrap.fill(printable(title), 90, break_on_hyphens=False), fontsize=11, parse_math=False
    )
    found = figure.subplots(len(drawn), 1, sharex=True)
    for axes, (words, shown) in zip(found, drawn, strict=True):
        columns = {label: [row.get(name, math.nan) for row in rows] for name, label in shown.items()}
        for label, values in columns.items():
            axes.plot(steps, values, label=label, linewidth=1, marker=marker)
        if words == SCORES:
            axes.axhline(0.5, color="grey", linestyle="--", linewidth=1)
        if words == NORMS and any(value > 0 for values in columns.values() for value in values):
            axes.set_yscale("log")  # what vanishes does so by powers of ten
        else:
            low, high = limits(np.array(list(columns.values())))
            middle = [0.5] if words == SCORES else []
            if low is not None and high is not None:
                axes.set_ylim(
                    min([low, *(x - 0.02 for x in middle)]), max([high, *(x + 0.02 for x in middle)])
                )
        # Above the axes, where it hides no curve.
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1, 1),
            ncols=len(columns),
            fontsize=9,
            frameon=False,
            borderpad=0.2,
        )
        axes.grid(alpha=0.3)
        axes.set_ylabel(words)
    found[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    found[-1].set_xlabel("step")
    figure.savefig(path, dpi=120, format="png")


def limits(values: np.ndarray) -> tuple[float | None, float | None]:
    """The range of the values, of any shape, that are not far out, and a margin; nothing for no values.

    Far out is what lies beyond the middle nine tenths by more than twice their range.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None, None
    low, high = np.quantile(finite, [0.05, 0.95])
    near = finite[(finite >= low - 2 * (high - low)) & (finite <= high + 2 * (high - low))]
    margin = 0.08 * np.ptp(near) or 0.1
    return float(near.min() - margin), float(near.max() + margin)
