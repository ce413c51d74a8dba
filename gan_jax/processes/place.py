"""The options of a run in several processes, and what they come to: which process this is, of how many, led from where.

python -m gan_jax.train --coordinator=10.0.0.1:4321 --num_processes=2 --process_id=0   # on 10.0.0.1
python -m gan_jax.train --coordinator=10.0.0.1:4321 --num_processes=2 --process_id=1   # on another machine

srun python -m gan_jax.train --distributed
"""

import dataclasses
from typing import Any, NamedTuple

from gan_jax import options
from gan_jax.errors import UserError
from gan_jax.options import option
from gan_jax.processes.links import Address

MOST = 4096  # processes
DETECTION = 300  # seconds in which a cluster must say where process 0 is


class Place(NamedTuple):
    """Which process this is, of how many. address: process 0's. local_device_ids: those it may use; None for all."""

    address: Address
    num: int
    process: int
    local_device_ids: list[int] | None


def _address(value: Any) -> str:
    host, colon, port = str(value).rpartition(":")
    if not (host and colon and port.isascii() and port.isdecimal() and 1 <= int(port) <= 65535):
        raise ValueError
    return str(value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Processes:
    """One GAN on the devices of several processes, on as many machines: the same command in each."""

    coordinator: str | None = option(
        None,
        "Where process 0 is, for the others to find it: its machine, and a port that is free there.",
        options.Rule("HOST:PORT", _address, metavar="HOST:PORT"),
        role="free",
        also=("coordinator_address", "master_addr"),
    )
    num_processes: int | None = option(
        None,
        "How many processes there are.",
        options.whole(1, MOST),
        role="free",
        also=("world_size", "nnodes", "num_hosts"),
    )
    process_id: int | None = option(
        None,
        "Which of them this is, counted from 0. Process 0 has the workdir, and speaks.",
        options.whole(0, MOST - 1),
        role="free",
        also=("rank", "host_id", "node_rank"),
    )
    distributed: bool = option(
        False,
        "Find out these three: on a TPU pod, in Slurm, Open MPI or Kubernetes.",
        options.FLAG,
        role="free",
    )


def check(given: Processes) -> None:
    """Raises `UserError` for options that do not go together."""
    three = {name: getattr(given, name) for name in ("coordinator", "num_processes", "process_id")}
    there = [name for name, value in three.items() if value is not None]
    if given.distributed and there:
        raise UserError(f"--distributed finds out --{there[0]} itself: leave one of them out.")
    if missing := [name for name in three if name not in there and there]:
        needed = " and ".join(f"--{name}" for name in missing)
        raise UserError(f"--{there[0]} needs {needed} as well.")
    if there and three["process_id"] >= three["num_processes"]:
        raise UserError(
            f"--process_id={given.process_id} is not allowed: of --num_processes={given.num_processes} it must be "
            f"from 0 to {three['num_processes'] - 1}."
        )


def place_of(given: Processes) -> Place | None:
    """This process's place; None where it is the only one. Raises `UserError` where `--distributed` finds nothing."""
    address, num, process = given.coordinator, given.num_processes, given.process_id
    devices: list[int] | None = None
    if given.distributed:
        address, num, process, devices = _detected()
    if address is None or num is None or process is None or num == 1:
        return None
    host, _, port = address.rpartition(":")
    return Place((host.strip("[]"), int(port)), num, process, devices)


def _detected() -> tuple[str, int, int, list[int] | None]:
    """What JAX finds out about the cluster that this process is in."""
    from jax._src.clusters import ClusterEnv  # jax.distributed.initialize asks it, and does not tell

    try:
        found: Any = ClusterEnv.auto_detect_unset_distributed_params(
            None, None, None, None, None, initialization_timeout=DETECTION
        )
    except (RuntimeError, ImportError, LookupError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"--distributed cannot find out the processes ({reason}): give --coordinator, --num_processes and "
            "--process_id."
        ) from error
    if None in found[:3]:
        raise UserError(
            "--distributed finds no TPU pod, Slurm, Open MPI or Kubernetes here: give --coordinator=HOST:PORT, "
            "--num_processes=N and --process_id=I."
        )
    return found
