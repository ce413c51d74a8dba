"""What the user sees of a run: the progress bar, the log, `metrics.jsonl`, grids of images and curves."""

import contextlib
import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from gan_jax import pictures
from gan_jax.config import Config
from gan_jax.drawing import Painting
from gan_jax.errors import UserError, printable
from gan_jax.plan import Plan
from gan_jax.storage import replacing, write_atomically

LogRow = dict[str, Any]


def warn(message: str) -> None:
    """One line on standard error, above the progress bar if there is one. A file's words in it do not break it."""
    tqdm.write(f"warning: {printable(message)}", file=sys.stderr)


def warn_of_two_lengths(steps: int | None, epochs: int) -> None:
    """Say which of two flags counts."""
    warn(f"--steps={steps} and --epochs={epochs} were both given: the steps count.")


def note(message: str) -> None:
    """One line on standard error that is no warning."""
    tqdm.write(message, file=sys.stderr)


def error(message: str) -> None:
    """One line on standard error."""
    print(f"error: {message}", file=sys.stderr)


def check_tensorboard(wanted: bool) -> None:
    """Raises `UserError` if TensorBoard files are wanted and cannot be written."""
    if wanted and importlib.util.find_spec("tensorboardX") is None:
        raise UserError("--tensorboard needs tensorboardX: pip install 'gan_jax[tensorboard]'.")


def save_picture(path: Path, picture: Image.Image) -> None:
    """Write it as PNG."""
    with replacing(path) as new:
        picture.save(new, "PNG")


def save_film(path: Path, frames: Sequence[Image.Image], milliseconds: Sequence[int]) -> None:
    """Write it as its ending says; see `pictures.write_film`."""
    with replacing(path) as new:
        pictures.write_film(new, pictures.FILMS[path.suffix], frames, milliseconds)


class Report:
    """Everything that a training run writes for people, in `folder`.

    Use it as a context manager. Pictures are drawn on a thread of their own, off the critical path.
    """

    def __init__(
        self, folder: Path, config: Config, plan: Plan, start: int, kept: Sequence[LogRow] = ()
    ) -> None:
        """A run that goes on at step `start`. Later rows of an earlier try are dropped; lost ones come from `kept`."""
        self._folder, self._plan = folder, plan
        (folder / "samples").mkdir(exist_ok=True)
        self._writer = _tensorboard_writer(folder, start) if config.tensorboard else None
        self.lost: list[str] = []
        self.rows = self._with_lost(read_rows(folder / "metrics.jsonl", start), kept, start)
        write_atomically(folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in self.rows))
        self._metrics = (folder / "metrics.jsonl").open("a")
        self._bar = tqdm(total=plan.total, initial=start, unit="step", disable=None, dynamic_ncols=True)
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

    def log(self, row: LogRow) -> None:
        """One chunk's means: a line in the log and in `metrics.jsonl`."""
        self.rows.append(row)
        self._metrics.write(json.dumps(row, allow_nan=False) + "\n")
        self._metrics.flush()
        epoch, step, d_loss, g_loss = row["epoch"], row["step"], row["d_loss"], row["g_loss"]
        losses = f"D Loss: {d_loss:.4f}, G Loss: {g_loss:.4f}"
        position = f"Epoch [{epoch}/{self._plan.epochs}], Step [{step}/{self._plan.total}]"
        tqdm.write(f"{position}, {losses}", file=sys.stdout)
        self._bar.set_description(f"epoch {epoch}/{self._plan.epochs}", refresh=False)
        self._bar.set_postfix_str(f"D {d_loss:.3f}, G {g_loss:.3f}", refresh=False)
        self._bar.update(step - self._bar.n)
        if self._writer is not None:
            for name, value in row.items():
                if isinstance(value, float):
                    self._writer.add_scalar(name, value, step)

    def samples(self, row: LogRow, painting: Painting) -> None:
        """The fixed latents' images after a chunk, as samples/sample_{epoch}_{batch}.png, in order of their names."""
        path = self._sample(row)
        self._painted.append(self._painter.submit(lambda: save_picture(path, painting())))
        self._check_painted(wait=False)
        if self._writer is not None:
            picture = np.atleast_3d(np.asarray(painting()))
            self._writer.add_image("samples", picture, row["step"], dataformats="HWC")

    def wait(self) -> None:
        """Return once all pictures are on disk."""
        self._check_painted()

    def lose(self, what: str) -> None:
        """Warn of what is lost for good; the run ends with exit code 3 for it."""
        self.lost.append(what)
        warn(f"{what}.")

    def _with_lost(self, rows: list[LogRow], kept: Sequence[LogRow], start: int) -> list[LogRow]:
        """`with_lost`; what is lost for good is said."""
        rows = with_lost(rows, kept, start, warn)
        if start and (not rows or rows[-1]["step"] < start):
            last = rows[-1]["step"] if rows else 0
            self.lose(
                f"metrics.jsonl has no rows of steps {last + 1} to {start}: its curves have a gap there"
            )
        return rows

    def lost_samples(self) -> list[LogRow]:
        """The rows whose grid in `samples/` is missing or damaged."""
        return [row for row in self.rows if not pictures.whole(self._sample(row))]

    def _sample(self, row: LogRow) -> Path:
        return self._folder / "samples" / sample_name(row)

    def _check_painted(self, *, wait: bool = True) -> None:
        """Raise what went wrong on the painter's thread: a full disk must not pass unnoticed."""
        done = [future for future in self._painted if wait or future.done()]
        self._painted = [future for future in self._painted if future not in done]
        for future in done:
            future.result()


def sample_name(row: LogRow) -> str:
    """The file of the grid that was drawn after a row's chunk: its epoch and its batch."""
    return f"sample_{row['epoch']:04}_{row.get('batch', 0):06}.png"


def read_rows(path: Path, stop: int) -> list[LogRow]:
    """The rows of a log up to step `stop`. What is no row is left out: half of one, or damage."""
    rows = []
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        with contextlib.suppress(ValueError, RecursionError):
            row = json.loads(line)
            if _is_row(row) and row["step"] <= stop:
                rows.append(row)
    return rows


def with_lost(
    rows: Sequence[LogRow], kept: Sequence[LogRow], start: int, warn: Callable[[str], object]
) -> list[LogRow]:
    """The rows of a log, with those of `kept`, a checkpoint's, for which there are none or others; `warn` is told."""
    there = {row["step"]: row for row in rows}
    found = {row["step"]: row for row in kept if _is_row(row) and row["step"] <= start}
    if lost := sum(there.get(step) != row for step, row in found.items()):
        warn(f"metrics.jsonl has lost rows: {lost} are put back from the checkpoint.")
    return sorted((there | found).values(), key=lambda row: row["step"])


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict) or any(
        type(row.get(name, 0)) is not int for name in ("step", "epoch", "batch")
    ):
        return False
    values = [value for x in row.values() for value in (x if isinstance(x, list) else [x])]
    return {"step", "epoch", "d_loss", "g_loss"} <= row.keys() and all(
        type(x) in (int, float, type(None)) for x in values
    )


def _tensorboard_writer(folder: Path, start: int) -> Any:
    from tensorboardX import SummaryWriter  # optional; see check_tensorboard

    return SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1)
