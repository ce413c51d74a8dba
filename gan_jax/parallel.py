"""Steps on many devices: the only file that names `pmap`.

One way for any number of devices: a chunk is always mapped over all of them, over one device at the
speed of `jit`. The state is replicated in and out, without a leading device axis.
"""

from collections.abc import Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.state import GanState
from gan_jax.step import Metrics, make_train_step

AXIS = "devices"

Tree = TypeVar("Tree")


class Chunk:
    """Many training steps as one compiled program.

    Calling `chunk(state, stop)` runs steps until `stop` (exclusive), at most `length` of them, and
    returns the new state and each step's metrics, every one [length], of which those past `stop` are to
    be ignored. The state is donated.
    """

    def __init__(
        self,
        config: Config,
        images: Array,
        labels: Array | None,
        length: int,
        devices: Sequence[jax.Device],
    ) -> None:
        """Over images uint8 [N, H, W, C] and, for a conditional run, their labels int32 [N].

        Raises `UserError` if the batch does not divide over the devices.
        """
        if config.batch_size % len(devices):
            raise UserError(
                f"--batch_size={config.batch_size} does not divide over {len(devices)} devices: give a multiple "
                f"of {len(devices)}."
            )
        self.length = length
        self._data = replicate((images, labels if config.conditional else None), devices)
        self._rank = np.arange(len(devices))
        train_step = make_train_step(config, images.shape[1:], AXIS)

        def steps(
            rank: Array, state: GanState, data: tuple[Array, Array | None], stop: Array
        ) -> tuple[GanState, Metrics]:
            del rank  # pmap needs one argument to map over

            def step(state: GanState, _: None) -> tuple[GanState, Metrics]:
                new, metrics = train_step(state, *data)
                # Past `stop` the state stands still: a run's last, shorter chunk is this same program and not
                # another to compile. It takes a whole chunk's time; the selection itself, fused into the
                # updates, takes none. (A loop of unknown length would ask the host after every step.)
                return jax.tree.map(lambda a, b: jnp.where(state.step < stop, a, b), new, state), metrics

            return jax.lax.scan(step, state, length=length)

        self._steps = jax.pmap(
            steps, AXIS, in_axes=(0, None, None, None), out_axes=None, donate_argnums=1, devices=devices
        )

    def __call__(self, state: GanState, stop: int) -> tuple[GanState, Metrics]:
        """Run from `state.step` until `stop`, exclusive."""
        return self._steps(self._rank, state, self._data, np.int32(stop))


def replicate(tree: Tree, devices: Sequence[jax.Device]) -> Tree:
    """A copy on every device. Placed as a chunk returns it, so that the second call finds the first's program."""
    return jax.device_put(tree, NamedSharding(Mesh(np.asarray(devices), (AXIS,)), PartitionSpec()))
