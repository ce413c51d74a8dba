"""Explore a trained generator in a browser: sliders, walks, ways between samples, and how it was trained.

    python -m gan_jax.explore --workdir=runs/mnist-hinge
    python -m gan_jax.explore --workdir=runs/mnist-hinge --export=digits.html

Serves the page on this machine only, until Ctrl-C. Exported it is one file, without server or network: the nets run in
the browser, in float32 with weights in float16, and draw what `gan_jax.sample` draws, to 1/255; of a run with
--dtype=bfloat16 they are the more exact ones. --member says which GAN of a population; its page has no film.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from gan_jax import cli, data, report, workdir
from gan_jax.errors import UserError
from gan_jax.explore.page import page
from gan_jax.explore.server import serving
from gan_jax.generator_options import Generator
from gan_jax.loading import load
from gan_jax.options import PATH, check, option, whole
from gan_jax.stopping import on_signals
from gan_jax.storage import expanded, target, write_atomically

ENDINGS = {".html": "a page"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Generator):
    """Where the page goes."""

    export: str | None = option(
        None, "File to write the page to, ending in .html, instead of serving it.", PATH
    )
    port: int = option(8766, "Port of the page on 127.0.0.1; 0 takes a free one.", whole(0, 2**16 - 1))

    def __post_init__(self) -> None:
        """Check every field. Raises `UserError`."""
        check(self)
        if self.export is not None:
            target(self.export, ENDINGS, flag="export")


def _made(options: Options, folder: Path) -> str:
    if data.are_points(workdir.read(folder).facts.image_shape):
        raise UserError(f"{folder} makes points, and the page is for images.")
    gan = load(folder, options.checkpoint, member=options.member, warn=report.warn)
    return page(gan, folder, options.member)


def main(args: Sequence[str]) -> None:
    """The command."""
    options = cli.parse(Options, args, prog="python -m gan_jax.explore", description=__doc__ or "")
    cli.use_compilation_cache()
    folder = expanded(options.workdir)
    if options.export is not None:
        path = target(options.export, ENDINGS, flag="export")
        content = _made(options, folder).encode()
        try:
            write_atomically(path, content)
        except OSError as error:
            raise UserError(f"--export={options.export} cannot be written ({error.strerror}).") from error
        print(f"{path}: {len(content) / 1e6:.1f} MB, opens in any browser")
        return
    with (
        serving(options.port, lambda: _made(options, folder)) as server,
        on_signals(lambda number: server.shutdown()),
    ):
        print(f"Open http://127.0.0.1:{server.server_port} on this machine; Ctrl-C ends.", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    cli.run(main)
