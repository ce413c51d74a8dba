"""A film of a run: how the images of its fixed latents change as it trains.

    python -m gan_jax.film --workdir=runs/mnist-hinge
    python -m gan_jax.film --workdir=runs/mnist-hinge --out=slide.webp --seconds=5 --no_captions

It is made of the grids in the run's samples/, which stay as they are, and is ready for a slide: crisply enlarged, with
the step, the system and the data below. It may be made while the run trains.
"""

import dataclasses
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gan_jax import cli, data, pictures, report, workdir
from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.options import FLAG, PATH, REQUIRED, SCALE, check, option, real
from gan_jax.storage import expanded, target

NAME = "film.gif"  # in the run's folder
GRID = re.compile(r"sample_\d+_\d+\.png")  # the name of a run's grid, with its epoch and batch
FRAMES_PER_SECOND = 20  # at most; players show no more of a GIF
SLOWEST = 500  # milliseconds of a frame, where grids are few
HOLD = 2000  # milliseconds that the last one stays longer
INK, DONE, LEFT = 225, 150, 50  # greys of the caption, and of the line that says how far the run is


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which run, and how to show it."""

    workdir: str = option(REQUIRED, "Folder of the training run.", PATH)
    out: str | None = option(
        None, "File to write: .gif, or .webp, which is exact. Default: film.gif there.", PATH
    )
    scale: int | None = option(
        None, "Width and height of a pixel in the film. Default: what suits a slide.", SCALE
    )
    seconds: float = option(
        10.0,
        "Length at most, and two seconds more for the last grid; of more grids than it can show it takes some, evenly.",
        real("greater than 0, at most 600", lambda x: 0 < x <= 600),
    )
    captions: bool = option(True, "The step and epoch, the system and the data below the images.", FLAG)

    def __post_init__(self) -> None:
        """Check every field. Raises `UserError`."""
        check(self)
        if self.out is not None:
            target(self.out, dict.fromkeys(pictures.FILMS, "a film"))


class Film(NamedTuple):
    """What was written: where, how many frames, and their width and height."""

    path: Path
    frames: int
    size: tuple[int, int]


def film(
    folder: str | Path,
    out: str | Path | None = None,
    *,
    scale: int | None = None,
    seconds: float = 10.0,
    captions: bool = True,
    warn: Callable[[str], object] = warnings.warn,
) -> Film:
    """Write the film of a run's folder.

    Damaged grids are left out, of which `warn` is told. Raises `UserError` if there is no run, or no grid, if `out`
    cannot be written, or if frames of that `scale` are too large for it.
    """
    options = Options(
        workdir=str(folder),
        out=None if out is None else str(out),
        scale=scale,
        seconds=seconds,
        captions=captions,
    )
    folder = expanded(options.workdir)
    path = folder / NAME if options.out is None else expanded(options.out)
    grids = chosen(grids_of(folder, warn), max(1, round(options.seconds * FRAMES_PER_SECOND)))
    frames = _frames(folder, grids, options, path.suffix)
    each = min(SLOWEST, max(10, 10 * int(100 * options.seconds / len(frames))))
    try:
        report.save_film(path, frames, [each] * (len(frames) - 1) + [each + HOLD])
    except OSError as error:
        raise UserError(f"--out={path} cannot be written ({error.strerror}).") from error
    return Film(path, len(frames), frames[0].size)


def grids_of(folder: Path, warn: Callable[[str], object]) -> list[Path]:
    """The grids in a run's samples/, in the order of its steps. Raises `UserError` if there is no run, or no grid."""
    if not workdir.read(folder).alone:
        raise UserError(
            f"{folder} holds a population, which draws no grids: python -m gan_jax.film is for single runs."
        )
    named = (path for path in (folder / "samples").glob("sample_*.png") if GRID.fullmatch(path.name))
    found = sorted(named, key=_place)
    grids = [path for path in found if pictures.whole(path)]
    if lost := len(found) - len(grids):
        warn(f"damaged grids in {folder / 'samples'}, left out: {lost}")
    if not grids:
        raise UserError(f"{folder} holds no grids yet: let gan_jax.train run for a while first.")
    return grids


def _place(path: Path) -> list[int]:
    """The epoch and the batch of a grid's name: as text epoch 10,000 would come before 9,999."""
    return [int(number) for number in re.findall(r"\d+", path.stem)]


def chosen(grids: Sequence[Path], most: int) -> list[Path]:
    """So many of the grids at most, evenly, the last one among them."""
    if len(grids) <= most:
        return list(grids)
    return [grids[i] for i in np.linspace(len(grids) - 1, 0, most).round().astype(int)[::-1]]


def steps_of(folder: Path) -> dict[str, int]:
    """The step of each grid of a run, by its name."""
    rows = report.read_rows(folder / "metrics.jsonl", 2**31)
    return {report.sample_name(row): row["step"] for row in rows}


def caption(path: Path, steps: Mapping[str, int]) -> str:
    """What a grid shows: its step, unless the log has lost it, and its epoch."""
    numbers = re.findall(r"\d+", path.stem)
    step = steps.get(path.name)
    return (f"step {step:,} · " if step else "") + f"epoch {int(numbers[0]):,}"


def title(config: Config) -> str:
    """What a film is of."""
    return f"{config.preset or config.loss} on {data.dataset_name(config.dataset)}"


def _frames(folder: Path, grids: Sequence[Path], options: Options, ending: str) -> list[Image.Image]:
    """The pictures of a film with this ending. Raises `UserError` for some that it cannot hold."""
    steps, of = steps_of(folder), title(workdir.read(folder).config)
    last = _opened(grids[-1])
    scale = options.scale or pictures.slide_scale(last.size)
    width, height = (scale * side for side in last.size)
    pictures.check_film(ending, (width, height + _heights(width)[1] * options.captions), "--scale")
    frames = []
    for i, path in enumerate(grids):
        picture = _opened(path)
        if picture.size != last.size:  # of another run that had this folder's name
            continue
        picture = pictures.enlarged(picture.convert(last.mode), scale)
        share = (i + 1) / len(grids)
        frames.append(_captioned(picture, caption(path, steps), of, share) if options.captions else picture)
    return frames


def _opened(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture.convert("L" if picture.mode == "L" else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read: it is no picture of a run.") from error


def _heights(width: int) -> tuple[int, int]:
    """Pixels of a caption's letters, and of all that is below a picture of this width."""
    size = max(10, width // 28)
    return size, 2 * size + size // 4


def _captioned(picture: Image.Image, words: str, of: str, share: float) -> Image.Image:
    """The picture above a line that says how far the film is, the words, and what it is `of` if there is room."""
    size, below = _heights(picture.width)
    frame = Image.new(picture.mode, (picture.width, picture.height + below))
    frame.paste(picture)
    draw = ImageDraw.Draw(frame)
    grey = lambda level: level if picture.mode == "L" else (level,) * 3
    top, thick = picture.height, max(2, size // 6)
    draw.rectangle((0, top, picture.width - 1, top + thick - 1), fill=grey(LEFT))
    draw.rectangle((0, top, round(picture.width * share) - 1, top + thick - 1), fill=grey(DONE))
    middle = (top + thick + frame.height) / 2
    font, edge = ImageFont.load_default(size), size // 2
    draw.text((edge, middle), words, fill=grey(INK), font=font, anchor="lm")
    if draw.textlength(f"{words}  {of}", font) <= frame.width - 2 * edge:
        draw.text((frame.width - edge, middle), of, fill=grey(DONE), font=font, anchor="rm")
    return frame


def main(args: Sequence[str]) -> None:
    """The command."""
    options = cli.parse(Options, args, prog="python -m gan_jax.film", description=__doc__ or "")
    path, frames, size = film(
        options.workdir,
        options.out,
        scale=options.scale,
        seconds=options.seconds,
        captions=options.captions,
        warn=report.warn,
    )
    print(f"{path}: {frames} frames of {size[0]} × {size[1]}, {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    cli.run(main)
