"""Train a GAN.

    python -m gan_jax.train --loss=hinge
    python -m gan_jax.train --preset=wgan_gp --epochs=20 --workdir=runs/my-run

Rerun the same command to resume. Expect recognisable digits of all ten classes in a few minutes on two
cores; `python -m gan_jax.train --help` lists the options. This file only wires the others together.
"""

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import __version__, cli, config, data, devices, report, sample, state, workdir
from gan_jax.checkpoint import Checkpoints, NonFiniteState
from gan_jax.config import Config, to_json
from gan_jax.errors import UserError
from gan_jax.evaluation.protocol import Evaluator, bar
from gan_jax.report import COLUMNS, Report, Row
from gan_jax.state import GanState
from gan_jax.step import batches_per_epoch


class Diverged(Exception):
    """The run met a number that is not finite; the message says where, and what is left."""


def total_steps(config: Config, num_images: int) -> int:
    """Generator updates in the whole run: `steps`, or as many as fit into `epochs` passes over the data."""
    return config.steps or max(1, config.epochs * batches_per_epoch(config, num_images) // config.d_steps)


class Stopped(Exception):
    """The run was asked to stop by a signal, and saved first."""

    def __init__(self, step: int, total: int, number: int) -> None:
        """At `step` of `total`, by signal `number`."""
        super().__init__(f"Stopped at step {step} of {total}; rerun the same command to go on.")
        self.exit_code = 128 + number  # the shell's convention, so that `train && …` does not go on


class Run:
    """A training run: the loop on the host around the chunks on the device."""

    def __init__(self, config: Config) -> None:
        """Load the data and build the program. Raises `UserError` before anything is written."""
        self.config = config
        images, labels = data.load(config.dataset, "train", config.data_dir)
        if config.batch_size > len(images):
            raise UserError(
                f"--batch_size={config.batch_size} is more than the {len(images)} images there are."
            )
        self.images = images
        self.devices = jax.devices()
        self.total = total_steps(config, len(images))
        self.epochs = math.ceil(self.total * config.d_steps / batches_per_epoch(config, len(images)))
        if self.total * config.d_steps >= 2**31:
            raise UserError(
                f"{self.total} steps of {config.d_steps} D updates are more than 2147483647 updates."
            )
        length = min(self.total, *self._periods)
        self.chunk = devices.Chunk(config, jnp.asarray(images), jnp.asarray(labels), length, self.devices)
        self.generate = sample.make_generate(config, images.shape[1:])
        self.num_samples = sample.grid_size(config)
        self.labels = sample.classes(config, self.num_samples)
        self.grid = sample.batches(sample.latents(config, config.seed, self.num_samples), self.labels)
        # Seed 1: evaluate's default is 0, and the best should not be reported on the samples it was chosen by.
        self.evaluator = Evaluator(config.dataset, config.data_dir, seed=1) if config.eval_every else None

    def start(self, checkpoints: Checkpoints) -> GanState:
        """The newest checkpoint's state, or a fresh one, on the devices."""
        fresh = state.init(self.config, self.images.shape[1:], len(self.images))
        restored = checkpoints.restore(None, warn=report.warn)
        if restored is not None:
            step, arrays = restored
            if step > self.total:
                raise UserError(
                    f"the run in this workdir is at step {step}, past the {self.total} asked for: "
                    "give more --epochs or --steps, or another --workdir."
                )
            checkpoints.set_aside_after(step)
            fresh = state.from_arrays(fresh, arrays)
        return devices.replicate(fresh, self.devices)

    def loop(self, gan: GanState, checkpoints: Checkpoints, log: Report) -> GanState:
        """Train to the end; raises Stopped at a signal. The last state is saved either way."""
        step = int(gan.step)
        unread = None  # the chunk whose numbers have yet to be read, while the device runs the next
        self._clock = time.perf_counter()
        with _signals() as received:
            while step < self.total and not received:
                begin, step = step, self._next_stop(step)
                gan, metrics = self.chunk(gan, step)
                grid = self.samples(gan)
                if unread:
                    self._read(unread, checkpoints, log, {})
                unread = (begin, step, metrics, grid)
                evaluate = self._evaluation_due(begin, step)
                if evaluate or any(step % every == 0 for every in self._periods[1:]):
                    score = self._evaluate(gan) if evaluate else {}
                    self._read(unread, checkpoints, log, score)
                    unread = None
                    self._save(gan, checkpoints, *score.values())
            if unread:
                self._read(unread, checkpoints, log, {})
                self._save(gan, checkpoints)
        if step < self.total:
            raise Stopped(step, self.total, received[0])
        return gan

    def samples(self, gan: GanState) -> list[jax.Array]:
        """The fixed latents' images, in batches as `sample.draw` makes them, still on the device."""
        return [self.generate(gan.sampling_variables, *batch) for batch in self.grid]

    def arranged(self, samples: list[jax.Array]) -> tuple[np.ndarray, int | None]:
        """What `samples` gave, on the host, in the order and columns of a grid."""
        images = np.concatenate(samples)[: self.num_samples]
        return sample.arranged(self.config, images, self.labels)

    @property
    def _periods(self) -> list[int]:
        """Steps between two logs, and between two checkpoints of either kind."""
        every = (self.config.log_every, self.config.checkpoint_every, self.config.keep_every)
        return [n for n in every if n]

    def _next_stop(self, step: int) -> int:
        """Where the chunk that begins at `step` ends: at the next multiple of any of the periods."""
        return min(self.total, step + self.chunk.length, *((step // n + 1) * n for n in self._periods))

    def _evaluation_due(self, begin: int, step: int) -> bool:
        """Whether the run, or an epoch to evaluate after, ended in the steps from `begin` to `step`.

        Not a stop of its own: on an accelerator a chunk costs the time of a whole one wherever it ends.
        """
        if self.config.eval_every is None:
            return False
        every = self.config.eval_every * batches_per_epoch(self.config, len(self.images))
        return (
            step == self.total or begin * self.config.d_steps // every < step * self.config.d_steps // every
        )

    def _evaluate(self, gan: GanState) -> dict[str, float]:
        """The Fréchet distance by its full name, of the samples that `gan_jax.evaluate --seed=1` draws."""
        assert self.evaluator is not None
        jax.block_until_ready(gan.step)  # so that the steps' time does not count as the evaluation's
        begin = time.perf_counter()
        z = sample.latents(self.config, self.evaluator.seed, self.evaluator.num)
        progress = lambda starts: bar(starts, "samples to evaluate")
        labels = sample.classes(self.config, self.evaluator.num)
        images = sample.draw(self.config, gan.sampling_variables, z, labels, progress)
        score = {self.evaluator.name("frechet_distance"): self.evaluator.frechet(images)}
        self._clock += time.perf_counter() - begin
        return score

    def _read(
        self, chunk: tuple[int, int, Any, Any], checkpoints: Checkpoints, log: Report, score: dict[str, float]
    ) -> None:
        """Wait for a chunk, check its numbers and report them."""
        begin, step, metrics, grid = chunk
        values = {name: np.asarray(value)[: step - begin] for name, value in metrics.items()}
        for name, value in values.items():
            if not np.isfinite(value).all():
                bad = int(np.flatnonzero(~np.isfinite(value))[0])
                raise Diverged(f"step {begin + bad + 1}: {name} is {value[bad]}; " + _last_good(checkpoints))
        now = time.perf_counter()
        batches = batches_per_epoch(self.config, len(self.images))
        epoch, batch = divmod(step * self.config.d_steps - 1, batches)
        row: Row = {"step": step, "epoch": epoch + 1, "batch": batch + 1}
        row |= {name: float(value.mean()) for name, value in values.items()}
        row |= score
        row["steps_per_s"] = round((step - begin) / (now - self._clock), 2)
        self._clock = now
        log.log(row, batches)
        log.samples(row, *self.arranged(grid))

    def _save(self, gan: GanState, checkpoints: Checkpoints, score: float | None = None) -> None:
        try:
            checkpoints.save(state.to_arrays(gan), int(gan.step), score)
        except NonFiniteState as error:
            raise Diverged(
                f"step {int(gan.step)}: {error} is not finite; " + _last_good(checkpoints)
            ) from error


def _last_good(checkpoints: Checkpoints) -> str:
    checkpoints.wait()
    steps = checkpoints.steps
    last = (
        f"the last good checkpoint is {checkpoints.path(steps[-1])}"
        if steps
        else "there is no checkpoint yet"
    )
    return f"{last}. Try a lower learning rate, or a penalty on D."


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """The SIGINT (Ctrl-C) and SIGTERM received: the chunk at hand then ends and is saved. A second one kills."""
    received: list[int] = []

    def receive(number: int, frame: Any) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    if threading.current_thread() is not threading.main_thread():  # Python allows handlers there alone
        yield received
        return
    old = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def train(config: Config) -> Path:
    """Train, or go on training, as `config` says; returns the run's folder.

    Raises `UserError` for what the user can mend, `Diverged` where the numbers stop being finite, `Stopped`
    after a signal.
    """
    report.check_tensorboard(config.tensorboard)
    run = Run(config)
    with (
        workdir.claim(config) as folder,
        Checkpoints(folder / "checkpoints", write=True, keep_every=config.keep_every) as checkpoints,
    ):
        gan = run.start(checkpoints)
        workdir.write_atomically(folder / "config.json", to_json(config))
        report.save_grid(folder / "real.png", run.images[: COLUMNS**2])
        start = int(gan.step)
        _announce(run, start, folder)
        with Report(folder, config, start=start, total=run.total, epochs=run.epochs) as log:
            gan = run.loop(gan, checkpoints, log)
        report.save_grid(folder / "samples.png", *run.arranged(run.samples(gan)))
        report.plot_losses(log.rows, folder / "losses.png", f"{config.loss} on {config.dataset}")
    print(
        f"Done: {folder}/samples.png, {folder}/losses.png. "
        f"Draw more: python -m gan_jax.sample --workdir={folder} --num={run.num_samples} --seed=1 --out=more.png"
    )
    return folder


def _announce(run: Run, start: int, folder: Path) -> None:
    kind, count = run.devices[0].device_kind, len(run.devices)
    verb = f"resuming at step {start} of" if start else "training for"
    name = run.config.preset or run.config.loss
    print(
        f"gan_jax {__version__}: {name} on {run.config.dataset}, {verb} {run.total} steps "
        f"on {count} × {kind}, in {folder}",
        flush=True,
    )


def main(args: Sequence[str]) -> int:
    """The command. Returns the exit code: 1 if the run diverged, 128 + the signal if one stopped it."""
    settings = config.parse(args)
    if advice := config.advice(settings):
        report.warn(advice)
    cli.use_compilation_cache()
    try:
        train(settings)
    except Diverged as error:
        report.error(str(error))
        return 1
    except Stopped as stopped:
        print(stopped)
        return stopped.exit_code
    return 0


if __name__ == "__main__":
    cli.run(main)
