"""The losses of the first 30 steps of the default system and of each preset.

Tests compare them with what the code computes now.

    python -m experiments.reference_losses

Writes tests/golden/reference_losses.json: means over ten steps each, with all that their bits depend on. Run it again
after a change that is meant to change numbers, and say so in the commit. Takes about half a minute.
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.quick_flags import QUICK_FLAGS

if __name__ == "__main__":
    # The tests' own flags (tests/conftest.py): other ones round otherwise.
    flags = f"--xla_force_host_platform_device_count=8 {QUICK_FLAGS}"
    os.environ.update(XLA_FLAGS=flags, JAX_PLATFORMS="cpu")

import jax

from experiments.ablation.changes import base_of
from gan_jax import PRESETS, cli, fit
from gan_jax.comparison.systems import DEFAULT
from gan_jax.environment import environment
from gan_jax.storage import write_atomically

FILE = Path(__file__).parent.parent / "tests" / "golden" / "reference_losses.json"
STEPS, EVERY, BATCH = 30, 10, 4
# Low, so that what another machine or version rounds differently does not grow.
RATE = 1e-4
NAMES = ("d_loss", "g_loss")
SYSTEMS = (DEFAULT, *PRESETS)
# The rest of an environment changes no bit of a run.
DECISIVE = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "platform",
    "cpu",
    "cores",
    "device",
    "xla_flags",
    "matmul_precision",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """There are none."""


@contextlib.contextmanager
def one_device() -> Iterator[None]:
    """JAX's devices are the first of them."""
    all_of_them, every = jax.devices, jax.devices()
    jax.devices = lambda *_: every[:1]
    try:
        yield
    finally:
        jax.devices = all_of_them


def losses(system: str) -> dict[str, list[float]]:
    """The means over each ten steps of a system's first 30, on MNIST in batches of 4, at low rates."""
    config = dataclasses.replace(
        base_of(system),
        steps=STEPS,
        log_every=EVERY,
        batch_size=BATCH,
        g_learning_rate=RATE,
        d_learning_rate=RATE,
    )
    with one_device():
        rows = [gan.metrics for gan in fit(config)]
    return {name: [row[name] for row in rows] for name in NAMES}


def decisive(found: dict[str, Any]) -> dict[str, Any]:
    """What of an environment decides over the bits."""
    return {name: found.get(name) for name in DECISIVE}


def main(args: Sequence[str]) -> None:
    """The command."""
    cli.parse(Options, args, prog="python -m experiments.reference_losses", description=__doc__ or "")
    cli.use_compilation_cache()
    found = {system: losses(system) for system in SYSTEMS}
    content = {"environment": decisive(environment()), "losses": found}
    write_atomically(FILE, json.dumps(content, indent=1) + "\n")
    print(f"Written: {FILE}")


if __name__ == "__main__":
    cli.run(main)
