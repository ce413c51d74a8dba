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
        # A run's last, shorter chunk is this same program and not another to compile. On a CPU the loop just ends
        # earlier. An accelerator would ask the host after every step whether to go on: there the state stands still
        # past `stop`, a selection that costs a CPU another pass over all weights (15% of a step of `conv`); on
        # accelerators, which fuse more, it is not measured yet.
        known_length = _needs_known_length(devices[0])
        train_step = jax.jit(make_train_step(config, images.shape[1:], AXIS))  # traced once, below

        def steps(
            rank: Array, state: GanState, data: tuple[Array, Array | None], stop: Array
        ) -> tuple[GanState, Metrics]:
            del rank  # pmap needs one argument to map over

            def step(i: Array, carry: tuple[GanState, Metrics]) -> tuple[GanState, Metrics]:
                state, log = carry
                new, metrics = train_step(state, *data)
                if known_length:
                    new = jax.tree.map(lambda a, b: jnp.where(state.step < stop, a, b), new, state)
                return new, jax.tree.map(lambda column, x: column.at[i].set(x), log, metrics)

            _, shapes = jax.eval_shape(train_step, state, *data)
            log = jax.tree.map(lambda x: jnp.zeros((length, *x.shape), x.dtype), shapes)
            count = length if known_length else jnp.clip(stop - state.step, 0, length)
            return jax.lax.fori_loop(0, count, step, (state, log))

        self._steps = jax.pmap(
            steps, AXIS, in_axes=(0, None, None, None), out_axes=None, donate_argnums=1, devices=devices
        )

    def __call__(self, state: GanState, stop: int) -> tuple[GanState, Metrics]:
        """Run from `state.step` until `stop`, exclusive."""
        return self._steps(self._rank, state, self._data, np.int32(stop))


def _needs_known_length(device: jax.Device) -> bool:
    return device.platform != "cpu"


def replicate(tree: Tree, devices: Sequence[jax.Device]) -> Tree:
    """A copy on every device. Placed as a chunk returns it, so that the second call finds the first's program."""
    return jax.device_put(tree, NamedSharding(Mesh(np.asarray(devices), (AXIS,)), PartitionSpec()))
