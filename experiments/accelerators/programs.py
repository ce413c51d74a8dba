"""Compiling gan_jax's own programs for machines that are not there, and counting what they do.

What is compiled is what a run compiles: `devices.chunk_program` for a single run, `members.members_program` for a
population. Nothing of a program is written here again.
"""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.accelerators import hlo
from experiments.accelerators.targets import Target
from gan_jax import devices, state
from gan_jax.config import Config
from gan_jax.devices import AXIS
from gan_jax.members import BY_MEMBER, first_members, members_program, mesh_of
from gan_jax.parts import Facts, Parts, build
from gan_jax.plan import plan
from gan_jax.step import make_update

MNIST = Facts((28, 28, 1), 60_000, 10, "")


@dataclasses.dataclass(frozen=True)
class Program:
    """What to compile: a system, on a target; members: of a population, None for a single run over all chips."""

    label: str
    config: Config
    target: str
    members: int | None

    @property
    def key(self) -> str:
        """Its name in the tables."""
        size = "single run" if self.members is None else f"population of {self.members}"
        c = self.config
        return f"{self.target}, {self.label}, {c.dtype}, batch {c.batch_size}, {size}"


def measure(program: Program, target: Target, facts: Facts = MNIST) -> dict[str, Any]:
    """Compile, and count: bytes on a device, and kernels, bytes and FLOP a step on a device."""
    begin = time.perf_counter()
    compiled = _lowered(program, target, facts).compile(compiler_options=target.compiler_options)
    seconds = time.perf_counter() - begin
    loop = hlo.busiest_loop(compiled.as_text())
    memory = compiled.memory_analysis()
    each = 1 if program.members is None else -(-program.members // len(target.devices))
    shared = facts.num_bytes
    own = memory.argument_size_in_bytes - shared + memory.output_size_in_bytes + memory.temp_size_in_bytes
    split = len(target.devices) if program.members is None else 1
    found: dict[str, Any] = {
        "compile_s": round(seconds, 1),
        "arguments": memory.argument_size_in_bytes,
        "results": memory.output_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
        "bytes_a_member": own // each,
        "kernels": loop.kernels,
        **{name.replace(" ", "_"): count for name, count in sorted(loop.kinds.items())},
        "branches": loop.branches,
        "loops": loop.loops,
        "collective_bytes": int(loop.collective_bytes),
        "bytes_accessed": int(loop.bytes),
        "flop": flop(program.config, facts) * each / split,
    }
    if analysis := compiled.cost_analysis():  # compiled for a GPU there is none
        found["bytes_by_xla"] = int(analysis["bytes accessed"])
    return found | _roofline(found, target, program.config.dtype)


def _roofline(found: dict[str, Any], target: Target, dtype: str) -> dict[str, Any]:
    """What a step takes at least, in microseconds, by the chip's bandwidth and by its peak: estimates."""
    if target.chip is None:
        return {}
    peak = target.chip.peak * (target.chip.float32 if dtype == "float32" else 1)
    return {
        "us_by_bandwidth": round(1e6 * found["bytes_accessed"] / target.chip.bandwidth, 2),
        "us_by_peak": round(1e6 * found["flop"] / peak, 2),
    }


def _lowered(program: Program, target: Target, facts: Facts) -> Any:
    config, some = program.config, target.devices
    parts = build(config, facts.image_shape, facts.num_classes if config.conditional else None, AXIS)
    course = plan(config, facts.num_images)
    i32 = jnp.zeros((), jnp.int32)
    if program.members is None:
        devices.check_divides(parts, some)
        whole = NamedSharding(Mesh(np.asarray(some), (AXIS,)), PartitionSpec())
        numbers = state.hyperparams(config, course.total)
        begun = jax.eval_shape(lambda: state.init(parts, numbers, 0, facts.num_images))
        placed = _placed((begun, _data(parts, facts), i32), whole)
        steps = devices.chunk_program(parts, course.length, some, True)
        return steps.lower(np.arange(len(some)), *placed)
    count = -(-program.members // len(some)) * len(some)  # the last is repeated, as in a run
    one = jax.eval_shape(lambda: first_members([config], parts, course, facts.num_images))
    members = jax.tree.map(lambda x: jax.ShapeDtypeStruct((count, *x.shape[1:]), x.dtype), one)
    mesh = mesh_of(some)
    whole = NamedSharding(mesh, PartitionSpec())
    steps = members_program(parts, course.length, count // len(some), some, True)
    return steps.lower(
        _placed(members, NamedSharding(mesh, BY_MEMBER)), *_placed((_data(parts, facts), i32, i32), whole)
    )


def _data(parts: Parts, facts: Facts) -> Any:
    images = jax.ShapeDtypeStruct((facts.num_images, *facts.image_shape), jnp.uint8)
    labels = jax.ShapeDtypeStruct((facts.num_images,), jnp.int32)
    return images, None if parts.num_classes is None else labels


def _placed(tree: Any, sharding: NamedSharding) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def flop(config: Config, facts: Facts = MNIST) -> float:
    """Floating-point operations of one step, by XLA's count; a multiplication and an addition are two."""
    parts = build(config, facts.image_shape, None, None)
    gan = jax.eval_shape(lambda: state.init(parts, state.hyperparams(config, 1), 0, 1))
    images = jax.ShapeDtypeStruct((config.d_steps, config.batch_size, *facts.image_shape), jnp.float32)
    z = jax.ShapeDtypeStruct((config.d_steps, config.batch_size, config.z_dim), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    lowered: Any = jax.jit(make_update(parts)).lower(gan, images, z, key)
    return float(lowered.cost_analysis()["flops"])
