"""What the user sees of a run: the progress bar, the log, `metrics.jsonl`, grids of images and curves."""

import contextlib
import importlib.util
import json
import math
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.workdir import write_atomically

Row = dict[str, Any]

COLUMNS = 8  # images in a row of a run's grids, as in the tutorial's program


def warn(message: str) -> None:
    """One line on standard error, above the progress bar if there is one."""
    tqdm.write(f"warning: {message}", file=sys.stderr)


def error(message: str) -> None:
    """One line on standard error."""
    print(f"error: {message}", file=sys.stderr)


def check_tensorboard(wanted: bool) -> None:
    """Raises `UserError` if TensorBoard files are wanted and cannot be written."""
    if wanted and importlib.util.find_spec("tensorboardX") is None:
        raise UserError("--tensorboard needs tensorboardX: pip install 'gan_jax[tensorboard]'.")


def grid(images: np.ndarray, columns: int | None = None, gap: int = 2) -> np.ndarray:
    """Images uint8 [N, H, W, C] as one picture [rows·(H+gap)+gap, columns·(W+gap)+gap, C], on black.

    `columns` is ⌈√N⌉ unless given.
    """
    num, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(num))
    rows = -(-num // columns)
    picture = np.zeros((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), np.uint8)
    for i, image in enumerate(images):
        top, left = (gap + i // columns * (height + gap), gap + i % columns * (width + gap))
        picture[top : top + height, left : left + width] = image
    return picture


def save_grid(path: Path, images: np.ndarray, columns: int | None = None) -> None:
    """Write a grid of uint8 images [N, H, W, 1 or 3] as PNG, of ⌈√N⌉ columns unless given."""
    picture = grid(images, columns)
    Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(path, "PNG")


def plot_losses(rows: list[Row], path: Path, title: str) -> None:
    """Both losses, and D's mean score on real and fake, over the steps of a run, as a PNG."""
    # Imported here: it takes half a second, which the start of a run should not wait for.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    losses, scores = figure.subplots(2, 1, sharex=True)
    steps = [row["step"] for row in rows]
    for axes, names in ((losses, ("d_loss", "g_loss")), (scores, ("real_score", "fake_score"))):
        for name in names:
            axes.plot(steps, [row[name] for row in rows], label=name, linewidth=1)
        axes.legend(loc="best")
        axes.grid(alpha=0.3)
    scores.axhline(0.5, color="grey", linestyle="--", linewidth=1)
    losses.set(title=title, ylabel="loss")
    scores.set(xlabel="step", ylabel="D's mean score (½: cannot tell)")
    figure.savefig(path, dpi=120, format="png")


class Report:
    """Everything that a training run writes for people, in `folder`.

    Use it as a context manager. Pictures are drawn on a thread of their own, off the critical path.
    """

    def __init__(self, folder: Path, config: Config, *, start: int, total: int, epochs: int) -> None:
        """A run that goes on at step `start` and ends at `total`. Later rows of an earlier try are dropped."""
        self._folder = folder
        (folder / "samples").mkdir(exist_ok=True)
        self._epochs = epochs
        self._writer = _tensorboard_writer(folder, start) if config.tensorboard else None
        self.rows = _read_rows(folder / "metrics.jsonl", start)
        write_atomically(folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in self.rows))
        self._metrics = (folder / "metrics.jsonl").open("a")
        self._bar = tqdm(total=total, initial=start, unit="step", disable=None, dynamic_ncols=True)
        self._painter = ThreadPoolExecutor(1)
        self._painted: list[Future[None]] = []

    def __enter__(self) -> "Report":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._painter.shutdown()
        self._metrics.close()
        self._bar.close()
        if self._writer is not None:
            self._writer.close()
        if error is None:
            self._check_painted()

    def log(self, row: Row, batches: int) -> None:
        """One chunk's means: a line in the log and in `metrics.jsonl`; `batches` are those of an epoch."""
        self.rows.append(row)
        self._metrics.write(json.dumps(row, allow_nan=False) + "\n")
        self._metrics.flush()
        epoch, d_loss, g_loss = row["epoch"], row["d_loss"], row["g_loss"]
        losses = f"D Loss: {d_loss:.4f}, G Loss: {g_loss:.4f}"
        tqdm.write(
            f"Epoch [{epoch}/{self._epochs}], Step [{row['batch']}/{batches}], {losses}", file=sys.stdout
        )
        self._bar.set_description(f"epoch {epoch}/{self._epochs}", refresh=False)
        self._bar.set_postfix_str(f"D {d_loss:.3f}, G {g_loss:.3f}", refresh=False)
        self._bar.update(row["step"] - self._bar.n)
        if self._writer is not None:
            for name, value in row.items():
                if isinstance(value, float):
                    self._writer.add_scalar(name, value, row["step"])

    def samples(self, row: Row, images: np.ndarray, columns: int | None) -> None:
        """The fixed latents' images after a chunk, as samples/sample_{epoch}_{batch}.png."""
        path = self._folder / "samples" / f"sample_{row['epoch']}_{row['batch']}.png"
        self._painted.append(self._painter.submit(save_grid, path, images, columns))
        self._check_painted(wait=False)
        if self._writer is not None:
            self._writer.add_image("samples", grid(images, columns), row["step"], dataformats="HWC")

    def _check_painted(self, *, wait: bool = True) -> None:
        """Raise what went wrong on the painter's thread: a full disk must not pass unnoticed."""
        done = [future for future in self._painted if wait or future.done()]
        self._painted = [future for future in self._painted if future not in done]
        for future in done:
            future.result()


def _read_rows(path: Path, stop: int) -> list[Row]:
    """The rows up to step `stop`; a line that a killed run wrote only half of is dropped."""
    rows = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError, TypeError, KeyError):
            row = json.loads(line)
            if row["step"] <= stop:
                rows.append(row)
    return rows


def _tensorboard_writer(folder: Path, start: int) -> Any:
    from tensorboardX import SummaryWriter  # optional; see check_tensorboard

    return SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1)
