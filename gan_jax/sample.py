"""Draw images from a trained generator.

    python -m gan_jax.sample --workdir=runs/mnist-hinge --num=64 --out=samples.png
    python -m gan_jax.sample --workdir=runs/mnist-hinge --grid=4x12 --scale=4 --truncation=1 --out=slide.png
    python -m gan_jax.sample --workdir=runs/mnist-hinge --interpolate --out=walk.gif

Without --num and --seed this is the grid that the training run drew at its last checkpoint. Of a conditional run
it has a class in every row; --label draws one class alone. --member says which GAN of a population draws. Of points the
picture is the plane, with D's score behind. --interpolate draws the ways from one latent to another, a row each; as a
film, images that walk through their latents side by side.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gan_jax import cli, data, generate, pictures, report, workdir
from gan_jax.errors import UserError
from gan_jax.gan import MOST_IMAGES, Gan
from gan_jax.generator_options import Generator
from gan_jax.loading import load
from gan_jax.options import FLAG, GRID, PATH, POSITIVE, REQUIRED, SCALE, SEED, check, option, whole
from gan_jax.storage import expanded, replacing, target

MOVING = dict.fromkeys(pictures.FILMS, "a film")
ENDINGS = {".png": "a grid", ".npz": "an array", **MOVING}
WAYS = (8, 10)  # rows and columns of a picture of interpolations
WALKERS = (4, 4)  # … and of a film of them
FRAME = 60  # milliseconds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Generator):
    """What to draw, and where to."""

    out: str = option(
        REQUIRED,
        "File to write: .png for a grid, .npz for an array `images`, uint8 [N, H, W, C], and `labels` if it has any; "
        "`images` are float32 [N, 2] if they are points. With --interpolate also .gif or .webp, which move.",
        PATH,
    )
    num: int | None = option(
        None,
        "Number of images. Default: those of the run's own grids, 64, or 8 of each class; 512 points.",
        whole(1, MOST_IMAGES),
    )
    label: int | None = option(None, "Draw this class alone; for conditional runs.", whole(0, 2**31 - 1))
    seed: int | None = option(
        None, "Seed of the latents. Default: the run's own, which gives the grid that training drew.", SEED
    )
    grid: tuple[int, int] | None = option(None, "Rows and columns, instead of --num.", GRID)
    scale: int | None = option(
        None, "Width and height of a pixel in the picture. Default: 1; of a film, what suits a slide.", SCALE
    )
    truncation: float | None = option(
        None,
        "Bound on the numbers of the noise: lower ones give more typical and less varied images (BigGAN).",
        POSITIVE,
    )
    interpolate: bool = option(False, "Draw the ways from one latent to another.", FLAG)

    def __post_init__(self) -> None:
        """Check every field. Raises `UserError`."""
        check(self)
        suffix = target(self.out, ENDINGS).suffix
        if suffix in MOVING and not self.interpolate:
            raise UserError(f"--out={self.out} is a film: add --interpolate, or give a .png.")
        if self.num is not None and (self.grid is not None or self.interpolate):
            raise UserError("--num is not allowed beside --grid and --interpolate: --grid says how many.")
        if self.scale is not None and suffix == ".npz":
            raise UserError("--scale is of pictures: leave it out for an .npz.")


def main(args: Sequence[str]) -> None:
    """The command."""
    options = cli.parse(Options, args, prog="python -m gan_jax.sample", description=__doc__ or "")
    cli.use_compilation_cache()
    _check_points(options)
    gan = load(options.workdir, options.checkpoint, member=options.member, warn=report.warn)
    seed = gan.config.seed if options.seed is None else options.seed
    out = target(options.out, ENDINGS)
    draw = _walking if out.suffix in MOVING else _interpolated if options.interpolate else _drawn
    try:
        said = draw(options, gan, seed, out)
    except OSError as error:
        raise UserError(f"--out={options.out} cannot be written ({error.strerror}).") from error
    print(f"{said} of step {gan.step} in {out}")


def _check_points(options: Options) -> None:
    if not data.are_points(workdir.read(expanded(options.workdir)).facts.image_shape):
        return
    if given := [name for name in ("grid", "scale", "interpolate") if getattr(options, name)]:
        raise UserError(f"--{given[0]} is of images, and {options.workdir} makes points: leave it out.")


def _drawn(options: Options, gan: Gan, seed: int, out: Path) -> str:
    rows, columns = options.grid or (options.num or generate.grid_size(gan.parts), None)
    num = rows * (columns or 1)
    if out.suffix == ".png":
        scale, truncation = options.scale or 1, options.truncation
        picture = gan.grid(num, seed, options.label, columns=columns, scale=scale, truncation=truncation)
        report.save_picture(out, picture)
    else:
        images = gan.sample(num, seed, options.label, truncation=options.truncation)
        _save_arrays(out, images, gan.classes(num, options.label))
    return f"{num} samples"


def _interpolated(options: Options, gan: Gan, seed: int, out: Path) -> str:
    rows, columns = options.grid or WAYS
    ways = gan.interpolate(rows, columns, seed, options.label, truncation=options.truncation)
    images = ways.reshape(-1, *ways.shape[2:])
    if out.suffix == ".png":
        report.save_picture(out, pictures.enlarged(pictures.grid(images, columns), options.scale or 1))
    else:
        labels = gan.classes(rows, options.label)
        _save_arrays(out, images, None if labels is None else np.repeat(labels, columns))
    return f"{rows} interpolations"


def _walking(options: Options, gan: Gan, seed: int, out: Path) -> str:
    rows, columns = options.grid or WALKERS
    height, width, _ = gan.parts.image_shape
    size = pictures.mosaic_size(rows, columns, height, width)
    scale = options.scale or pictures.slide_scale(size)
    pictures.check_film(out.suffix, (scale * size[0], scale * size[1]), "--scale or --grid")
    frames = gan.walk(rows * columns, seed=seed, label=options.label, truncation=options.truncation)
    pictured = [pictures.grid(frame, columns) for frame in frames]
    report.save_film(out, [pictures.enlarged(x, scale) for x in pictured], [FRAME] * len(frames))
    return f"a walk of {rows * columns} samples"


def _save_arrays(out: Path, images: np.ndarray, labels: object) -> None:
    arrays = {"images": images} | ({} if labels is None else {"labels": np.asarray(labels)})
    with replacing(out) as new, new.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


if __name__ == "__main__":
    cli.run(main)
