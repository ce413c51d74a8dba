"""Chunks of slow steps in pieces, so that whoever asks a run to stop waits for seconds, however long its chunks are."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import jax
import numpy as np

from gan_jax import devices as devices_
from gan_jax.devices import DeviceData
from gan_jax.step import Metrics

State = TypeVar("State")

SECONDS = 5.0  # that a piece may take


class Pieces(Generic[State]):
    """Runs the chunks of a run or a population, each in pieces of about `SECONDS` where it takes longer.

    The pieces of a chunk give the bits of the whole. An accelerator runs chunks whole: its loops have known lengths,
    and `plan.MOST_STEPS` take it seconds. So do several processes, which would have to agree on each piece.
    """

    def __init__(
        self,
        chunk: Callable[[State, DeviceData, int, int], tuple[State, Metrics]],
        devices: Sequence[jax.Device],
        asked: Callable[[], bool],
    ) -> None:
        """chunk: as `devices.chunk` or `members.members_chunk` gives it.

        asked: whether somebody wants the run to stop; a chunk that is being cut then ends early.
        """
        self._chunk, self._asked = chunk, asked
        whole = devices_.needs_known_length(devices[0]) or jax.process_count() > 1
        self._most: float = np.inf if whole else 1
        self._compiled = False

    def run(self, state: State, data: DeviceData, begin: int, stop: int) -> tuple[State, Metrics, int]:
        """(the state after the chunk, what its steps measured, the step it ended at: `stop` unless somebody asked).

        The last axis of each metric is the steps.
        """
        found: list[dict[str, Any]] = []
        at = begin
        while at < stop and not (found and self._asked()):
            length = int(min(stop - at, self._most))
            start = time.perf_counter()
            state, columns = self._chunk(state, data, at, at + length)
            if length == stop - begin:
                return state, columns, stop  # not waited for
            found.append({name: np.asarray(x)[..., :length] for name, x in columns.items()})
            self._learn(length, time.perf_counter() - start)
            at += length
        joined: dict[str, Any] = {
            name: np.concatenate([each[name] for each in found], axis=-1) for name in found[0]
        }
        return state, joined, at

    def _learn(self, steps: int, seconds: float) -> None:
        if self._compiled:  # the first piece's time is the compiler's
            self._most = max(1, steps * SECONDS / seconds)
        self._compiled = True
