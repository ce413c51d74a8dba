"""Steps on many devices: the only file that names `pmap`.

One way for any number of devices: a chunk is always mapped over all of them, over one device at the
speed of `jit`. The state is replicated in and out, without a leading device axis. Where the devices are those of
several processes, each process calls the chunk with a copy on its own, and gets such a one back.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gan_jax.errors import UserError
from gan_jax.parts import Parts
from gan_jax.state import GanState
from gan_jax.step import Metrics, make_train_step
from gan_jax.storage import available_memory

AXIS = "devices"

# (images uint8 [N, H, W, C] or points float32 [N, 2], labels int32 [N] or None), on every device.
DeviceData = tuple[Array, Array | None]
# (state, data, stop) -> (the state at step `stop` at the latest, each step's metrics, every one [length])
Chunk = Callable[[GanState, DeviceData, int], tuple[GanState, Metrics]]

Tree = TypeVar("Tree")


def chunk(parts: Parts, length: int, devices: Sequence[jax.Device]) -> Chunk:
    """Many training steps as one compiled program, the same one for equal arguments.

    `chunk(state, data, stop)` runs steps until `stop` (exclusive), at most `length` of them, and returns the new
    state and each step's metrics, of which those past `stop` are to be ignored. `parts.axis` must be `AXIS`.
    The state that was given stays valid: whoever holds it may go on from it.
    """
    steps = chunk_program(parts, length, tuple(devices), needs_known_length(devices[0]))
    rank = np.arange(len(own(devices)))  # pmap needs one argument to map over
    return lambda state, data, stop: steps(rank, state, data, np.int32(stop))


@functools.lru_cache(maxsize=32)
def chunk_program(parts: Parts, length: int, devices: tuple[jax.Device, ...], known_length: bool) -> Any:
    """The program of `chunk`: `program(rank, state, data, stop)`, whose rank is an argument to map over."""
    steps = make_steps(parts, length, known_length)

    def ranked(rank: Array, state: GanState, data: DeviceData, stop: Array) -> tuple[GanState, Metrics]:
        del rank
        return steps(state, data, stop)

    return jax.pmap(ranked, AXIS, in_axes=(0, None, None, None), out_axes=None, devices=devices)


def make_steps(
    parts: Parts, length: int, known_length: bool
) -> Callable[[GanState, DeviceData, Array], tuple[GanState, Metrics]]:
    """`steps(state, data, stop)`: what `chunk` compiles.

    known_length: whether the loop always runs `length` times, as an accelerator wants it.
    """
    # A run's last, shorter chunk is this same program and not another to compile. On a CPU the loop just ends
    # earlier. An accelerator would ask the host after every step whether to go on: there the state stands still
    # past `stop`, a selection that costs a CPU another pass over all weights (15% of a step of `conv`); on
    # accelerators, which fuse more, it is not measured yet.
    train_step = jax.jit(make_train_step(parts))  # traced once, below

    def steps(state: GanState, data: DeviceData, stop: Array) -> tuple[GanState, Metrics]:
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

    return steps


def needs_known_length(device: jax.Device) -> bool:
    """Whether a loop of a length that only the device knows is slow: it would ask the host after every step."""
    return device.platform != "cpu"


def own(devices: Sequence[jax.Device]) -> list[jax.Device]:
    """Those of this process."""
    return [device for device in devices if device.process_index == jax.process_index()]


def replicate(tree: Tree, devices: Sequence[jax.Device]) -> Tree:
    """A copy on every device of this process. Placed as a chunk returns it, so that the second call finds the first's
    program."""  # fmt: skip
    return jax.device_put(tree, NamedSharding(Mesh(np.asarray(own(devices)), (AXIS,)), PartitionSpec()))


def check_divides(parts: Parts, devices: Sequence[jax.Device]) -> None:
    """Raises `UserError` if the batch, in packs, does not divide over the devices."""
    if parts.batch_size % (len(devices) * parts.pack):
        packs = f" in packs of {parts.pack}" if parts.pack > 1 else ""
        raise UserError(
            f"--batch_size={parts.batch_size} does not divide over {len(devices)} devices{packs}: give a multiple "
            f"of {len(devices) * parts.pack}."
        )


def check_fits(num_bytes: int, devices: Sequence[jax.Device]) -> None:
    """Raises `UserError` if so many bytes of images do not fit on each device."""
    free = free_memory(devices)
    if num_bytes > free / 2:
        raise UserError(
            f"the images take {num_bytes / 1e9:.2f} GB on each device, more than half of the {free / 1e9:.2f} GB that "
            "are free: give fewer, a smaller --image_size, or --channels=1."
        )


def free_memory(devices: Sequence[jax.Device]) -> float:
    """Bytes that are left on each device of this process; a CPU's virtual ones share the machine's memory."""
    if devices[0].platform == "cpu":
        return available_memory() / len(own(devices))
    stats = [device.memory_stats() for device in own(devices)]
    return min((s["bytes_limit"] - s.get("bytes_in_use", 0) for s in stats if s), default=math.inf)
