"""Members of a population: their states, spread over devices, and the one program that trains them all."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gan_jax import devices, state
from gan_jax.config import Config
from gan_jax.devices import AXIS, DeviceData, Tree
from gan_jax.parts import Parts
from gan_jax.plan import Plan
from gan_jax.state import GanState
from gan_jax.step import Metrics
from gan_jax.step_memory import HEADROOM

MEMBERS = "members"  # the mesh's axis over which they spread
BY_MEMBER = PartitionSpec(MEMBERS)


class Members(NamedTuple):
    """What training changes, every array [M, ...].

    state: theirs, without `step`, which they share. Its `order` is kept, although it follows from key and epoch: it is
    240 KB of MNIST, where a member takes 14 MB and more, and else each chunk would begin with a sort of 60,000 numbers.
    stands: the step at which each state is. diverged: the step at which each one's numbers stopped being finite, or −1;
    its state is then that of the chunk before, and stays.
    """

    state: GanState
    stands: Array
    diverged: Array


# (members, data, begin, stop) -> (members at step `stop`, each step's metrics [M, length]). If it stops before the
# chunk's end, it is given the rest.
MembersChunk = Callable[[Members, DeviceData, int, int], tuple[Members, Metrics]]


def first_members(configs: Sequence[Config], parts: Parts, course: Plan, num_images: int) -> Members:
    """The members before the first step."""
    # One after the other and not by vmap: it is the single run's program, and so its bits.
    numbers = [state.hyperparams(config, course.total) for config in configs]
    begun = [state.init(parts, n, c.seed, num_images) for n, c in zip(numbers, configs, strict=True)]
    zeros = jnp.zeros(len(configs), jnp.int32)
    return Members(stacked(begun).replace(step=None), zeros, zeros - 1)


def stacked(trees: Sequence[Tree]) -> Tree:
    """Trees of one structure as one, every array with a leading axis over them."""
    tree: Tree = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
    return tree


def spread_over(members: Members, count: int, some: Sequence[jax.Device]) -> Members:
    """The members over the devices, as many on each: the last is repeated where they do not divide."""
    index = np.minimum(np.arange(-(-count // len(some)) * len(some)), count - 1)
    return jax.device_put(jax.tree.map(lambda x: x[index], members), NamedSharding(mesh_of(some), BY_MEMBER))


def mesh_of(some: Sequence[jax.Device]) -> Mesh:
    """The devices, each with members of its own."""
    # The axis over which a single run is split is there, of length 1: a member's step is then the single run's.
    return Mesh(np.asarray(some).reshape(-1, 1), (MEMBERS, AXIS))


def members_chunk(
    parts: Parts, course: Plan, some: Sequence[jax.Device], members: Members, data: DeviceData
) -> MembersChunk:
    """Many steps of many members as one compiled program, the same one for equal arguments.

    As many members at a time as fit in the devices' memory, which a program of a single one is compiled to find out.
    """
    length = course.length
    together = devices.needs_known_length(some[0])
    group = _group_size(parts, length, some, members, data) if together else 1
    # As they were when the chunk began, to which those that diverge go back.
    before = None if together else members

    def run(members: Members, data: DeviceData, begin: int, stop: int) -> tuple[Members, Metrics]:
        nonlocal before
        piece: tuple[Any, ...] = ()
        if not together:
            if course.stop(begin - 1) == begin:
                before = members
            piece = before, np.bool_(course.stop(begin) == stop)
        whole = devices.is_whole(some[0], stop - begin, length)
        program = members_program(parts, length, group, tuple(some), whole)
        return program(members, data, np.int32(begin), np.int32(stop), *piece)

    return run


def _group_size(
    parts: Parts, length: int, some: Sequence[jax.Device], members: Members, data: DeviceData
) -> int:
    """How many members a device trains at a time."""
    each = len(members.stands) // len(some)
    free = devices.free_memory(some)
    compiled = (
        members_program(parts, length, 1, tuple(some), True)
        .lower(members, data, np.int32(0), np.int32(0))
        .compile()
    )
    analysis = compiled.memory_analysis()
    if analysis is None or not np.isfinite(free):
        return each
    room = HEADROOM * free - analysis.output_size_in_bytes
    return int(np.clip(room // max(analysis.temp_size_in_bytes, 1), 1, each))


@functools.lru_cache(maxsize=32)
def members_program(
    parts: Parts, length: int, group: int, some: tuple[jax.Device, ...], known_length: bool
) -> Any:
    """The program of `members_chunk`, for groups of so many members.

    `program(members, data, begin, stop)` does a whole chunk. `program(…, before, ends)` does a piece of one that began
    with the members `before`, and says whether the chunk ends with it: what becomes of a member that diverges does not
    depend on the pieces.
    """
    steps = devices.make_steps(parts, length, known_length)

    def one(
        data: DeviceData,
        begin: Array,
        stop: Array,
        ends: Array | None,
        pair: tuple[Members, Members | None],
    ) -> tuple[Members, Metrics]:
        member, before = pair
        going = member.diverged < 0
        # Members that share operations share their steps as well: told apart in each, they would sort the data anew.
        until = jnp.where(going, stop, begin) if group == 1 else stop
        new, columns = steps(member.state.replace(step=begin), data, until)
        measured = jnp.arange(length) < stop - begin
        bad = jnp.any(jnp.stack([~jnp.isfinite(x) for x in columns.values()]), 0) & measured
        # A state may be lost at the last step of the chunk, which its metrics, taken before, do not show.
        lost = ~jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in _floats(new)]))
        lost = lost if ends is None else lost & ends
        first = jnp.where(jnp.any(bad), begin + jnp.argmax(bad) + 1, stop).astype(jnp.int32)
        falls = going & (jnp.any(bad) | lost)
        keeps = going & ~falls
        back = member if before is None else before
        new = jax.tree.map(lambda a, b: jnp.where(keeps, a, b), new.replace(step=None), back.state)
        stands = jnp.where(keeps, stop, back.stands)
        return Members(new, stands, jnp.where(falls, first, member.diverged)), columns

    def mine(
        members: Members,
        data: DeviceData,
        begin: Array,
        stop: Array,
        before: Members | None = None,
        ends: Array | None = None,
    ) -> tuple[Members, Metrics]:
        alone = functools.partial(one, data, begin, stop, ends)
        pairs = members, before
        return jax.lax.map(alone, pairs) if group == 1 else jax.lax.map(alone, pairs, batch_size=group)

    whole = PartitionSpec()
    inputs = BY_MEMBER, whole, whole, whole

    def program(members: Members, data: DeviceData, begin: Array, stop: Array, *piece: Any) -> Any:
        specs = (*inputs, BY_MEMBER, whole) if piece else inputs
        mapped = jax.shard_map(mine, mesh=mesh_of(some), in_specs=specs, out_specs=BY_MEMBER, check_vma=False)
        return mapped(members, data, begin, stop, *piece)

    return jax.jit(program)


def _floats(tree: Any) -> list[Array]:
    return [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
