"""Draw images from a trained generator.

    python -m gan_jax.sample --workdir=runs/mnist-hinge --num=64 --out=samples.png

Without --num and --seed this is the grid that the training run drew at its last checkpoint. Of a conditional run
it has a class in every row; --label draws one class alone. --member says which GAN of a population draws. Of points the
picture is the plane, with D's score behind.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from gan_jax import cli, generate, report
from gan_jax.errors import UserError
from gan_jax.gan import MOST_IMAGES
from gan_jax.generator_options import Generator
from gan_jax.loading import load
from gan_jax.options import PATH, REQUIRED, SEED, check, option, whole
from gan_jax.storage import replacing, target

ENDINGS = {".png": "a grid", ".npz": "an array"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Generator):
    """What to draw, and where to."""

    out: str = option(
        REQUIRED,
        "File to write: .png for a grid, .npz for an array `images`, uint8 [N, H, W, C], and `labels` if it has any; "
        "`images` are float32 [N, 2] if they are points.",
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

    def __post_init__(self) -> None:
        """Check every field. Raises `UserError`."""
        check(self)
        target(self.out, ENDINGS)


def main(args: Sequence[str]) -> None:
    """The command."""
    options = cli.parse(Options, args, prog="python -m gan_jax.sample", description=__doc__ or "")
    cli.use_compilation_cache()
    gan = load(options.workdir, options.checkpoint, member=options.member, warn=report.warn)
    num = options.num or generate.grid_size(gan.parts)
    seed = gan.config.seed if options.seed is None else options.seed
    out = target(options.out, ENDINGS)
    try:
        if out.suffix == ".png":
            report.save_picture(out, gan.grid(num, seed, options.label))
        else:
            images, labels = gan.sample(num, seed, options.label), gan.classes(num, options.label)
            arrays = {"images": images} | ({} if labels is None else {"labels": np.asarray(labels)})
            with replacing(out) as new, new.open("wb") as file:
                np.savez_compressed(file, allow_pickle=False, **arrays)
    except OSError as error:
        raise UserError(f"--out={options.out} cannot be written ({error.strerror}).") from error
    print(f"{num} samples of step {gan.step} in {out}")


if __name__ == "__main__":
    cli.run(main)
