"""What `train` does as one of several processes: what they must agree on, and what all but the first do."""

from typing import Any

import jax
import numpy as np

from gan_jax import __version__, processes, provenance
from gan_jax.config import Config
from gan_jax.gan import Gan
from gan_jax.loading import restored
from gan_jax.options import options_of
from gan_jax.parts import Parts
from gan_jax.plan import Plan
from gan_jax.processes import Job
from gan_jax.state import to_arrays
from gan_jax.stopping import Stopped, signals
from gan_jax.storage import arrays_of, npz_bytes
from gan_jax.training import iterate

# Where a process has its images, and what the first alone uses. The images themselves are compared.
_OWN = ("preset", "dataset", "data_dir", "workdir", "tensorboard")


def common(config: Config) -> dict[str, Any]:
    """What must be the same in all processes of a run, by name."""
    given = {f"--{name}": getattr(config, name) for name in options_of(Config) if name not in _OWN}
    used = sorted(plugin.sha256 for plugin in provenance.used(config).values())
    return {"gan_jax": __version__, "jax": jax.__version__, **given, "--plugin": used}


def share(start: Gan | None) -> None:
    """Give the others the state to begin with, which process 0 has read; None for a fresh one."""
    processes.shared(None if start is None else npz_bytes(to_arrays(start.state)))


def follow(
    config: Config, parts: Parts, plan: Plan, images: np.ndarray, labels: np.ndarray | None, team: Job
) -> None:
    """Train with process 0, from the state that it has, for as long as it does.

    Raises `Diverged` as it does, and `Stopped` if one of the processes was asked to stop.
    """
    content = processes.shared(None)
    gan = None if content is None else restored(config, parts, plan, len(images), arrays_of(content))
    with signals(team.signalled) as received:
        for chunk in iterate(config, parts, plan, images, labels, gan):
            gan = chunk
            if team.stops(received):
                break
    assert gan is not None  # a run has one step at least
    _ = gan.metrics  # waits for the last steps
    if gan.step < plan.total:
        raise Stopped(gan.step, plan.total, received[0])
