"""Train a GAN.

    python -m gan_jax.train --loss=hinge
    python -m gan_jax.train --preset=wgan_gp --epochs=20 --workdir=runs/my-run

Rerun the same command to resume. Expect recognisable digits of all ten classes in a few minutes on two
cores; `python -m gan_jax.train --help` lists the options. This file only wires the others together: `fit` trains,
`Report` shows, `Checkpoints` keeps.
"""

import contextlib
import os
import shlex
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax import __version__, cli, config, data, generate, pictures, plugins, report, workdir
from gan_jax.advice import advice
from gan_jax.checkpoint import Checkpoints, NonFiniteState
from gan_jax.config import Config
from gan_jax.errors import Diverged, UserError
from gan_jax.evaluation.named import evaluator_for
from gan_jax.evaluation.protocol import Evaluator, bar
from gan_jax.gan import Gan, restored
from gan_jax.parts import Facts, facts_of
from gan_jax.report import LogRow, Report
from gan_jax.state import to_arrays
from gan_jax.training import iterate, prepare


class Stopped(Exception):
    """The run was asked to stop by a signal, and saved first."""

    def __init__(self, gan: Gan, number: int) -> None:
        """At the step of `gan`, by signal `number`."""
        super().__init__(f"Stopped at step {gan.step} of {gan.plan.total}; rerun the same command to go on.")
        self.exit_code = 128 + number  # the shell's convention, so that `train && …` does not go on


class Loop:
    """What happens to each chunk that `fit` yields: it is read, shown, evaluated and saved when that is due."""

    def __init__(self, checkpoints: Checkpoints, log: Report, evaluator: Evaluator | None) -> None:
        """Of a run with these."""
        self._checkpoints, self._log, self._evaluator = checkpoints, log, evaluator
        # A chunk and its grid, whose numbers have yet to be read while the device runs the next.
        self._unread: tuple[Gan, list[jax.Array]] | None = None
        self._clock = time.perf_counter()

    def take(self, gan: Gan) -> None:
        """A chunk that the device has just begun."""
        grid = _grid(gan)
        self.read({})
        self._unread = gan, grid
        assert gan.log is not None
        evaluate = gan.plan.evaluates(gan.log.begin, gan.step)
        if evaluate or gan.plan.saves(gan.step):
            score = self._evaluate(gan) if evaluate else {}
            self.read(score)
            self.save(gan, *score.values())

    def read(self, score: dict[str, float]) -> None:
        """Wait for the chunk that was taken, if it is not read yet, and show its numbers."""
        if self._unread is None:
            return
        (gan, grid), self._unread = self._unread, None
        assert gan.log is not None
        metrics = gan.metrics
        now = time.perf_counter()
        row: LogRow = {
            "step": gan.step,
            "epoch": gan.epoch,
            "batch": gan.plan.batch(gan.step),
            **metrics,
            **score,
        }
        row["steps_per_s"] = round((gan.step - gan.log.begin) / (now - self._clock), 2)
        self._clock = now
        self._log.log(row)
        self._log.samples(row, *_arranged(gan, grid))

    def save(self, gan: Gan, score: float | None = None) -> None:
        """Keep a checkpoint. Raises `Diverged` if an array of the state is not finite."""
        try:
            self._checkpoints.save(to_arrays(gan.state), gan.step, score)
        except NonFiniteState as error:
            raise Diverged(f"step {gan.step}: {error} is not finite") from error

    def _evaluate(self, gan: Gan) -> dict[str, float]:
        """The Fréchet distance by its full name, of the samples that `gan_jax.evaluate --seed=1` draws."""
        assert self._evaluator is not None
        jax.block_until_ready(gan.state.step)  # so that the steps' time does not count as the evaluation's
        begin = time.perf_counter()
        progress = lambda starts: bar(starts, "samples to evaluate")
        images = gan.sample(self._evaluator.num, self._evaluator.seed, progress=progress)
        score = {self._evaluator.name("frechet_distance"): self._evaluator.frechet(images)}
        self._clock += time.perf_counter() - begin
        return score


def _grid(gan: Gan) -> list[jax.Array]:
    """The fixed latents' images, in batches as `generate.draw` makes them, still on the device."""
    num = generate.grid_size(gan.parts)
    inputs = generate.batches(gan.latents(num, gan.config.seed), gan.classes(num))
    return [generate.generate(gan.parts, gan.state.sampling_variables, *batch) for batch in inputs]


def _arranged(gan: Gan, grid: list[jax.Array]) -> tuple[np.ndarray, int | None]:
    """What `_grid` gave, on the host, in the order and columns of a grid."""
    num = generate.grid_size(gan.parts)
    return generate.arranged(gan.parts, np.concatenate(grid)[:num], gan.classes(num))


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """The SIGINT (Ctrl-C) and SIGTERM received: the chunk at hand then ends and is saved. A second one kills."""
    received: list[int] = []

    def receive(number: int, frame: Any) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        # Not by print, which may be what was interrupted.
        os.write(
            2, b"\nstopping: the steps at hand are finished and saved first; once more to stop at once\n"
        )

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
    own = {"image_size": config.image_size, "channels": config.channels}
    images, labels = data.load(config.dataset, "train", config.data_dir, **own)
    facts = facts_of(images, labels)
    parts, plan = prepare(config, facts)
    evaluator = _evaluator(config) if config.eval_every else None
    with (
        workdir.claim(config, facts) as folder,
        Checkpoints(folder / "checkpoints", write=True, keep_every=config.keep_every) as checkpoints,
    ):
        start = _start(config, facts, checkpoints, folder)
        workdir.write_config(folder, config, facts)
        report.save_grid(folder / "real.png", images[: generate.COLUMNS**2])
        _announce(config, start, plan.total, folder)
        with Report(folder, config, plan, start.step if start else 0) as log, _signals() as received:
            try:
                chunks = iterate(config, parts, plan, images, labels, start)
                gan = _run(chunks, start, Loop(checkpoints, log, evaluator), received)
            except Diverged as error:
                raise Diverged(f"{error}; {_last_good(checkpoints)}") from error
        report.save_grid(folder / "samples.png", *_arranged(gan, _grid(gan)))
        pictures.plot_losses(log.rows, folder / "losses.png", _title(config, folder))
    num = generate.grid_size(gan.parts)
    flags = [f"--workdir={folder}", f"--num={num}", "--seed=1", "--out=more.png", *plugins.flags()]
    more = shlex.join(["python", "-m", "gan_jax.sample", *flags])
    print(f"Done: {folder}/samples.png, {folder}/losses.png. Draw more: {more}")
    return folder


def _evaluator(config: Config) -> Evaluator:
    """The judge of `--eval_every`. Raises `UserError` at once, not after the first epochs, if it cannot judge."""
    own = {"image_size": config.image_size, "channels": config.channels}
    # Seed 1: evaluate's default is 0, and the best should not be reported on the samples it was chosen by.
    evaluator = evaluator_for(config.dataset, config.data_dir, seed=1, **own)
    try:
        evaluator.check_frechet()
    except UserError as error:
        raise UserError(f"{error} Leave --eval_every out, or give more images.") from None
    return evaluator


def _start(config: Config, facts: Facts, checkpoints: Checkpoints, folder: Path) -> Gan | None:
    """The newest checkpoint's Gan; None if there is none."""
    found = checkpoints.restore(report.warn)
    if found is None:
        return None
    gan = restored(config, facts, found[1])
    if gan.step > gan.plan.total:
        raise UserError(
            f"the run in this workdir is at step {gan.step}, past the {gan.plan.total} asked for: "
            "give more --epochs or --steps, or another --workdir."
        )
    checkpoints.set_aside_after(gan.step)
    return gan


def _run(chunks: Iterator[Gan], start: Gan | None, loop: Loop, received: list[int]) -> Gan:
    """Train to the end; raises Stopped once a signal is received. The last state is saved either way."""
    gan, saved = start, start
    for gan in chunks:
        loop.take(gan)
        if received:
            break
    assert gan is not None  # a run has one step at least
    loop.read({})
    if gan is not saved and not gan.plan.saves(gan.step):
        loop.save(gan)
    if gan.step < gan.plan.total:
        raise Stopped(gan, received[0])
    return gan


def _last_good(checkpoints: Checkpoints) -> str:
    checkpoints.wait()
    steps = checkpoints.steps
    last = (
        f"the last good checkpoint is {checkpoints.path(steps[-1])}"
        if steps
        else "there is no checkpoint yet"
    )
    return f"{last}. Try a lower learning rate, or a penalty on D."


def _title(config: Config, folder: Path) -> str:
    return f"{folder.name}: {config.preset or config.loss} on {data.dataset_name(config.dataset)}, seed {config.seed}"


def _announce(config: Config, start: Gan | None, total: int, folder: Path) -> None:
    devices = jax.devices()
    verb = f"resuming at step {start.step} of" if start else "training for"
    if note := data.held_out_note(config.dataset):
        print(note)
    print(
        f"gan_jax {__version__}: {config.preset or config.loss} on {data.dataset_name(config.dataset)}, {verb} "
        f"{total} steps on {len(devices)} × {devices[0].device_kind}, in {folder}",
        flush=True,
    )


def main(args: Sequence[str]) -> int:
    """The command. Returns the exit code: 1 if the run diverged, 128 + the signal if one stopped it."""
    settings = config.parse(args)
    if line := advice(settings):
        report.warn(line)
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
