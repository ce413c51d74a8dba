"""The machines that programs are compiled for, none of which need be there.

A name is PLATFORM:CHIP:CHIPS, such as tpu:v5e:2x2, cuda:h200 (one of them) or cuda:h100:8; or cpu, this machine's. The
compilers come with the packages of `pip install '.[tpu,aot-cuda]'`: libtpu for TPUs, JAX's CUDA plugin for GPUs.
"""

import dataclasses
import os
import re
from collections.abc import Sequence
from typing import Any

import jax

from gan_jax.errors import UserError

# The compilers ask no machine what it is.
SETTINGS = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",
}


@dataclasses.dataclass(frozen=True)
class Chip:
    """What its maker says of a chip: memory in bytes, its bandwidth in bytes/s, peak in FLOP/s of bfloat16 products.

    float32: the share of that peak which float32 products reach as JAX computes them by default: in TF32 on a GPU, in
    three passes of bfloat16 on a TPU.
    """

    memory: float
    bandwidth: float
    peak: float
    float32: float


CHIPS = {
    "tpu:v4": Chip(32 * 2**30, 1.228e12, 275e12, 1 / 3),
    "tpu:v5e": Chip(16 * 2**30, 0.819e12, 197e12, 1 / 3),
    "tpu:v5p": Chip(95 * 2**30, 2.765e12, 459e12, 1 / 3),
    "tpu:v6e": Chip(32 * 2**30, 1.64e12, 918e12, 1 / 3),
    "cuda:h100": Chip(80 * 2**30, 3.35e12, 989e12, 1 / 2),
    "cuda:h200": Chip(141 * 2**30, 4.8e12, 989e12, 1 / 2),
}

# How XLA wants a Hopper GPU described: as the driver would.
_HOPPER = """
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 233472
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128 block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535 block_dim_limit_z: 65535 memory_bandwidth: {bandwidth:.0f} l2_cache_size: 52428800
  clock_rate_ghz: 1.98 device_memory_size: {memory:.0f} shared_memory_per_block_optin: 232448
  cuda_compute_capability {{ major: 9 }} registers_per_core_limit: 65536 registers_per_block_limit: 65536
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64 device_vendor: "NVIDIA Corporation"
  device_address_bits: 64 pcie_bandwidth: 34359738368 ecc_enabled: true name: "NVIDIA {name}"
  driver_version: "12.9.0" runtime_version: "12.9.0" compile_time_toolkit_version: "12.9.0" dnn_version: "9.10.0"
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 }}
device_description_str: "NVIDIA {name}"
"""


@dataclasses.dataclass(frozen=True)
class Target:
    """Devices to compile for. chip: what they are; None for this machine's processor, of which nothing is claimed."""

    name: str
    devices: tuple[jax.Device, ...]
    chip: Chip | None

    @property
    def compiler_options(self) -> dict[str, Any]:
        """What differs from the compiler's defaults."""
        # Of its own matrix products in Triton the compiler chooses those that it has timed, on the GPU; untimed, it
        # takes one that it cannot always build. Without them products are calls of cuBLAS.
        return {"xla_gpu_enable_triton_gemm": False} if self.name.startswith("cuda:") else {}


def prepare() -> None:
    """Set what JAX and the compilers read once, when they start: to be called before any computation."""
    os.environ.update(SETTINGS)
    jax.config.update("jax_platforms", "cpu")  # no accelerator is looked for


def target(name: str) -> Target:
    """The machine of a name. Raises `UserError` where it is none, or its compiler is not installed."""
    if name == "cpu":
        return Target(name, tuple(jax.devices("cpu")[:1]), None)
    kind, _, count = name.partition(":")[2].partition(":")
    chip = f"{name.partition(':')[0]}:{kind}"
    shape = r"\d+(x\d+){1,2}" if chip.startswith("tpu:") else r"[1-8]?"
    if chip not in CHIPS or not re.fullmatch(shape, count):
        raise UserError(
            f"--targets={name} is not allowed: write cpu, tpu:v5e:2x2 or cuda:h200:8; chips are {', '.join(CHIPS)}."
        )
    jax.devices()  # or the plugin is not known yet
    try:
        found = _tpu(f"{kind}:{count}") if chip.startswith("tpu:") else _cuda(kind, chip, count or "1")
    except (RuntimeError, ValueError, NotImplementedError) as error:
        why = " ".join(str(error).split())[:200]
        raise UserError(
            f"--targets={name} cannot be compiled for ({why}): pip install '.[tpu,aot-cuda]'."
        ) from error
    return Target(name, tuple(found), CHIPS[chip])


def _tpu(name: str) -> Sequence[jax.Device]:
    from jax.experimental.topologies import get_topology_desc

    single = set(re.findall(r"\d+", name.split(":")[1])) == {"1"}
    alone = {"chips_per_host_bounds": (1, 1, 1)} if single else {}
    return get_topology_desc(platform="tpu", topology_name=name, **alone).devices


def _cuda(kind: str, chip: str, count: str) -> Sequence[jax.Device]:
    from jax.experimental.topologies import get_topology_desc

    facts = _HOPPER.format(bandwidth=CHIPS[chip].bandwidth, memory=CHIPS[chip].memory, name=kind.upper())
    return get_topology_desc(
        platform="cuda", topology_name=kind, topology=f"1x1x{count}", target_config=facts
    ).devices
