"""A run in several processes: `joined` makes this process one of them, and sees to it that all end together.

JAX carries the arrays. What it leaves open goes over `links`: process 0, the leader, says after each chunk whether all
go on, and learns of signals. Whoever fails says why, and whoever falls silent is missed: every process then ends with
one line. Nobody waits for a process that is gone.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from gan_jax.processes.follower import Follower
from gan_jax.processes.job import Job
from gan_jax.processes.leader import Leader
from gan_jax.processes.links import Words
from gan_jax.processes.place import Place, Processes, check, place_of
from gan_jax.stopping import Stopped

__all__ = ["Job", "Place", "Processes", "check", "joined", "place_of", "shared"]


@contextlib.contextmanager
def joined(place: Place | None, values: Words) -> Iterator[Job | None]:
    """Take part in a run as the process at `place`; None, and nothing done, where there is but one.

    `values` are those that must be the same in all. An error inside ends every process, this one with its exit code.
    Raises `UserError` if the processes do not find one another.
    """
    if place is None:
        yield None
        return
    job = Follower(place, values) if place.process else Leader(place, values)
    try:
        job.initialize()
        yield job
        job.end()
    except Stopped as stopped:
        job.end()
        if job.leads:
            raise
        raise SystemExit(stopped.exit_code) from None  # one process says so
    except Exception as error:
        job.explain(error)


def shared(content: bytes | None) -> bytes | None:
    """The bytes that process 0 has, in every process; called by all, with whatever."""
    leads = jax.process_index() == 0
    size = np.int64(-1 if content is None else len(content))
    there: Any = multihost_utils.broadcast_one_to_all(np.frombuffer(size.tobytes(), np.uint8))
    length = int(np.frombuffer(there.tobytes(), np.int64)[0])
    if length < 0:
        return None
    own = np.frombuffer(content, np.uint8) if leads and content else np.zeros(length, np.uint8)
    found: Any = multihost_utils.broadcast_one_to_all(own)
    return bytes(found.tobytes())
