"""What `train` does with each chunk of a run: it is read, shown, evaluated and saved."""

import time

import jax

from gan_jax import drawing
from gan_jax.bar import bar
from gan_jax.checkpoint import Checkpoints, NonFiniteState
from gan_jax.errors import Diverged
from gan_jax.evaluation.protocol import Evaluator
from gan_jax.evaluation.samples import samples_for
from gan_jax.gan import Gan
from gan_jax.report import LogRow, Report
from gan_jax.state import to_arrays
from gan_jax.status import Status


class Loop:
    """What happens to each chunk that `fit` yields: it is read, shown, evaluated and saved when that is due."""

    def __init__(
        self, checkpoints: Checkpoints, log: Report, evaluator: Evaluator | None, status: Status
    ) -> None:
        """Of a run with these."""
        self._checkpoints, self._log, self._evaluator, self._status = checkpoints, log, evaluator, status
        # A chunk and its picture, whose numbers have yet to be read while the device runs the next.
        self._unread: tuple[Gan, drawing.Sketch] | None = None
        self._clock = time.perf_counter()
        self.saved: int | None = None  # the step of the last checkpoint

    def take(self, gan: Gan) -> None:
        """A chunk that the device has just begun."""
        drawn = drawing.sketch(gan)
        assert gan.log is not None
        # If this chunk is done and the one before is unread, both took the time: when the first one ended is not known.
        speed = self._speed(self._unread[0], gan) if gan.log.done and self._unread is not None else None
        self.read({}, speed)
        self._unread = gan, drawn
        evaluate = gan.plan.evaluates(gan.log.begin, gan.step)
        saves = evaluate or gan.plan.saves(gan.step)
        score = self._evaluate(gan) if evaluate else {}
        # Of a chunk that is done: read after the next one, its speed would be that of the next.
        if saves or gan.log.done:
            self.read(score, speed)
        if saves:
            self.save(gan, *score.values())

    def read(self, score: dict[str, float], speed: float | None = None) -> None:
        """Wait for the chunk that was taken, if it is not read yet, and show its numbers.

        speed: its steps a second, if it took them together with another chunk.
        """
        if self._unread is None:
            return
        (gan, drawn), self._unread = self._unread, None
        assert gan.log is not None
        metrics = gan.metrics
        speed = self._speed(gan, gan) if speed is None else speed
        row: LogRow = {
            "step": gan.step,
            "epoch": gan.epoch,
            "batch": gan.plan.batch(gan.step),
            **metrics,
            **score,
        }
        row["steps_per_s"] = round(speed, 2)
        self._clock = time.perf_counter()
        self._log.log(row)
        self._log.samples(row, drawing.painting(gan, drawn))
        self._status.chunk(gan.step, row["steps_per_s"], max(self._checkpoints.steps, default=None))

    def _speed(self, first: Gan, last: Gan) -> float:
        """Steps a second since the clock was set, in these two chunks, the last of which has just ended."""
        assert first.log is not None
        return (last.step - first.log.begin) / (time.perf_counter() - self._clock)

    def save(self, gan: Gan, score: float | None = None) -> None:
        """Keep a checkpoint. Raises `Diverged` if an array of the state is not finite."""
        self._log.wait()  # a run that goes on from this checkpoint finds the grids before it
        try:
            self._checkpoints.save(to_arrays(gan.state), gan.step, score, self._log.rows)
        except NonFiniteState as error:
            raise Diverged(f"step {gan.step}: {error} is not finite") from error
        self.saved = gan.step

    def _evaluate(self, gan: Gan) -> dict[str, float]:
        """The Fréchet distance by its full name, of the samples that `gan_jax.evaluate --seed=1` draws."""
        assert self._evaluator is not None
        judge = self._evaluator
        jax.block_until_ready(gan.state.step)  # so that the steps' time does not count as the evaluation's
        begin = time.perf_counter()
        progress = lambda starts: bar(starts, "samples to evaluate")
        images = samples_for(judge, gan, progress)
        score = {judge.name("frechet_distance"): judge.frechet(images)}
        self._clock += time.perf_counter() - begin
        return score
