"""When things happen in a run: its length, where chunks end, and when it logs, saves and evaluates. Numbers only."""

import dataclasses
import math

from gan_jax.config import Config
from gan_jax.errors import UserError

MOST_UPDATES = 2**31 - 1  # updates: what an int32 counts
# In a chunk: its metrics are in the device's memory, and on an accelerator a signal waits for its end.
MOST_STEPS = 10_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """The course of a run. A step is one G update with its `d_steps` D updates, each on a batch of its own.

    total: steps in the whole run. batches: full batches in a pass over the data. The cadences are those of `Config`:
    in steps, and `eval_every` in epochs.
    """

    total: int
    batches: int
    d_steps: int
    log_every: int
    checkpoint_every: int
    keep_every: int | None
    eval_every: int | None

    @property
    def epochs(self) -> int:
        """Passes over the data that the run begins."""
        return math.ceil(self.total * self.d_steps / self.batches)

    def epoch(self, step: int) -> int:
        """The pass, counted from 1, in which a step ends; 0 before the first."""
        return math.ceil(step * self.d_steps / self.batches)

    def batch(self, step: int) -> int:
        """The batch of its epoch, counted from 1, with which a step ends; 0 before the first."""
        return (step * self.d_steps - 1) % self.batches + 1 if step else 0

    @property
    def _saved(self) -> list[int]:
        return [n for n in (self.checkpoint_every, self.keep_every) if n]

    @property
    def length(self) -> int:
        """Steps in a chunk, at most."""
        return min(self.total, self.log_every, MOST_STEPS, *self._saved)

    def stop(self, step: int) -> int:
        """Where the chunk that begins at `step` ends: at the next multiple of a cadence in steps, or the run's end.

        And at each multiple of 10,000.
        """
        cadences = (self.log_every, MOST_STEPS, *self._saved)
        return min(self.total, *((step // n + 1) * n for n in cadences))

    def saves(self, step: int) -> bool:
        """Whether a checkpoint belongs to this step."""
        return any(step % n == 0 for n in self._saved)

    def evaluates(self, begin: int, step: int) -> bool:
        """Whether the run, or an epoch to evaluate after, ended in the steps from `begin` to `step`.

        Not a stop of its own: on an accelerator a chunk costs the time of a whole one wherever it ends.
        """
        if self.eval_every is None:
            return False
        every = self.eval_every * self.batches
        return step == self.total or begin * self.d_steps // every < step * self.d_steps // every


def plan(config: Config, num_images: int) -> Plan:
    """The plan of a run on so many images. Raises `UserError` if they make no batch, or the run is too long."""
    if config.batch_size > num_images:
        raise UserError(f"--batch_size={config.batch_size} is more than the {num_images} images there are.")
    batches = num_images // config.batch_size
    total = config.steps or max(1, config.epochs * batches // config.d_steps)
    if total * config.d_steps > MOST_UPDATES:
        raise UserError(f"{total} steps of {config.d_steps} D updates are more than {MOST_UPDATES} updates.")
    return Plan(
        total=total,
        batches=batches,
        d_steps=config.d_steps,
        log_every=config.log_every,
        checkpoint_every=config.checkpoint_every,
        keep_every=config.keep_every,
        eval_every=config.eval_every,
    )
