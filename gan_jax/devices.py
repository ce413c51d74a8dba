"""Steps on many devices: the only file that names `pmap`.

One way for any number of devices: a chunk is always mapped over all of them, over one device at the
speed of `jit`. The state is replicated in and out, without a leading device axis. Where the devices are those of
several processes, each process calls the chunk with a copy on its own, and gets such a one back.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gan_jax.draws import draw
from gan_jax.errors import UserError
from gan_jax.packing import Packed, pack, unpack
from gan_jax.parts import Parts
from gan_jax.state import GanState
from gan_jax.step import Metrics, make_train_step
from gan_jax.storage import available_memory

AXIS = "devices"

# (images uint8 [N, H, W, C] or points float32 [N, 2], labels int32 [N] or None), on every device.
DeviceData = tuple[Array, Array | None]
# (state, data, begin, stop) -> (the state at step `stop`, each step's metrics, every one [length])
Chunk = Callable[[GanState, DeviceData, int, int], tuple[GanState, Metrics]]

Tree = TypeVar("Tree")


def chunk(parts: Parts, length: int, devices: Sequence[jax.Device]) -> Chunk:
    """Many training steps as one compiled program, the same one for equal arguments.

    `chunk(state, data, begin, stop)` runs the steps from `begin`, that of the state, until `stop` (exclusive), at most
    `length` of them, and returns the new state and each step's metrics, of which those past `stop` are to be ignored.
    `parts.axis` must be `AXIS`. The state that was given stays valid: whoever holds it may go on from it.
    """
    rank = np.arange(len(own(devices)))  # pmap needs one argument to map over

    def run(state: GanState, data: DeviceData, begin: int, stop: int) -> tuple[GanState, Metrics]:
        whole = is_whole(devices[0], stop - begin, length)
        return chunk_program(parts, length, tuple(devices), whole)(rank, state, data, np.int32(stop))

    return run


def is_whole(device: jax.Device, steps: int, length: int) -> bool:
    """Whether a chunk of so many steps is for the program that knows that it runs `length`.

    An accelerator asks its host after every step of a loop whose end only the device knows. So whole chunks are a
    program of their own there, and shorter ones another. On a CPU all chunks are one program.
    """
    return steps >= length and needs_known_length(device)


@functools.lru_cache(maxsize=32)
def chunk_program(parts: Parts, length: int, devices: tuple[jax.Device, ...], known_length: bool) -> Any:
    """The program of `chunk`: `program(rank, state, data, stop)`, whose rank is an argument to map over."""
    steps = make_steps(parts, length, known_length)

    def ranked(rank: Array, state: GanState, data: DeviceData, stop: Array) -> tuple[GanState, Metrics]:
        del rank
        return steps(state, data, stop)

    # Nothing is donated: the caller may go on from the state, and a donated one that lies elsewhere would warn.
    return jax.pmap(ranked, AXIS, in_axes=(0, None, None, None), out_axes=None, devices=devices)


def make_steps(
    parts: Parts, length: int, known_length: bool
) -> Callable[[GanState, DeviceData, Array], tuple[GanState, Metrics]]:
    """`steps(state, data, stop)`: what `chunk` compiles.

    known_length: whether it runs `length` steps, as an accelerator wants it, or until `stop`, if that comes first.
    """
    train_step = jax.jit(make_train_step(parts))  # traced once, below

    def steps(state: GanState, data: DeviceData, stop: Array) -> tuple[GanState, Metrics]:
        begin = state.step
        order, draws = draw(parts, state.key, state.order, begin, stop, length)
        at = lambda i: jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, i, keepdims=False), draws)
        _, shapes = jax.eval_shape(train_step, state, at(0), *data)

        def step(i: Array, packed: Packed) -> Packed:
            changing, log = unpack(packed, like)
            new, metrics = train_step(state.replace(step=begin + i, **changing), at(i), *data)
            row = jnp.stack([metrics[name] for name in shapes])
            return pack((_changing(new), jax.lax.dynamic_update_index_in_dim(log, row, i, 0)))

        count = length if known_length else jnp.clip(stop - begin, 0, length)
        like = _changing(state), jnp.zeros((length, len(shapes)), jnp.result_type(*shapes.values()))
        changing, log = unpack(jax.lax.fori_loop(0, count, step, pack(like)), like)
        columns = {name: log[:, i] for i, name in enumerate(shapes)}
        return state.replace(step=begin + count, order=order, **changing), columns

    return steps


def _changing(state: GanState) -> dict[str, Any]:
    """What a step changes of the state, besides counting."""
    still = ("step", "key", "order", "hyperparams")
    return {f.name: getattr(state, f.name) for f in dataclasses.fields(state) if f.name not in still}


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
    return min(
        (s["bytes_limit"] - s.get("bytes_in_use", 0) for s in stats if s and "bytes_limit" in s),
        default=math.inf,
    )
