"""A comparison on a Ray cluster: its groups of members are tasks, which Ray starts again where a machine is lost.

This process computes nothing. What the tasks make is in the comparison's folder, which must be on a file system that
every machine sees; the last task writes the report there, as the command does without a cluster.
"""

import contextlib
import functools
import importlib.util
import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from gan_jax import options, plugins
from gan_jax.comparison import tasks
from gan_jax.comparison.groups import groups_of
from gan_jax.comparison.running import Part, Tasks
from gan_jax.comparison.systems import Options, folder_name
from gan_jax.config import Config
from gan_jax.errors import InUse, UserError
from gan_jax.options import options_of
from gan_jax.storage import locked

CONNECT = 10  # seconds for a cluster to answer
# Of this process and of its own cluster: nothing is told to Ray's makers, and a connection fails in a minute.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it warns that it will be so
    "RAY_NUM_REDIS_GET_RETRIES": "3",
    "RAY_py_gcs_connect_timeout_s": str(CONNECT),
}
PASSED_ON = ("JAX_", "XLA_", "XDG_CACHE_HOME")  # how the variables begin that are as here on the machines


Systems = Mapping[str, Sequence[Config]]  # the members' configs, by the system's name


@contextlib.contextmanager
def connected(address: str) -> Iterator[Callable[[Options, Systems, Mapping[str, int], Path], None]]:
    """Connect to the cluster at `--ray`'s address, or start one of this machine alone; yields what compares on it.

    To be entered before JAX finds its devices: it has threads then, and Ray's processes are forked.

    Raises:
      UserError: if there is no cluster, or no Ray here.
    """
    if importlib.util.find_spec("ray") is None:
        raise UserError("--ray needs Ray: pip install 'gan_jax[ray]'.")
    if address not in ("local", "auto"):
        _check_answers(address)
    # Without a token at hand Ray would leave one in the home folder.
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)} if address == "local" else {}
    added = {name: value for name, value in (ENVIRONMENT | token).items() if name not in os.environ}
    os.environ.update(added)
    import ray

    passed = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    how: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    how |= {"include_dashboard": False} if address == "local" else {}
    try:
        with _silent():
            ray.init(address=address, runtime_env={"env_vars": passed}, **how)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise UserError(
            f"--ray={address}: no Ray cluster can be used there ({' '.join(str(error).split())[:200]}). Of one that "
            "wants a token set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN."
        ) from error
    jax.config.update("jax_platforms", "cpu")  # an accelerator of this machine is for the tasks
    try:
        yield functools.partial(_compare, ray)
    finally:
        ray.shutdown()
        for name in added:
            os.environ.pop(name, None)


def _compare(ray: Any, options_: Options, systems: Systems, totals: Mapping[str, int], folder: Path) -> None:
    """Train, score and report in `folder`. `totals` are the systems' steps.

    Raises:
      UserError: for what the user can mend, here or on a machine of the cluster.
      Stopped: after a signal; what was done is saved.
    """
    given = {name: getattr(options_, name) for name in options_of(Options)}
    given = {name: value for name, value in given.items() if value is not options.UNSET}
    given |= {"workdir": str(folder.absolute()), "ray": None}
    first = next(iter(systems.values()))[0]  # whose paths are absolute
    given |= {"dataset": first.dataset} | ({} if first.data_dir is None else {"data_dir": first.data_dir})
    job = tasks.Job(given, os.getcwd(), tuple(plugins.LOADED), tasks.VERSIONS)
    folder.mkdir(parents=True, exist_ok=True)
    with _held(folder):
        need, slots = _needs(ray)
        members = sum(map(len, systems.values()))
        # On a CPU members take turns anyway; on accelerators those of a group share every operation.
        size = -(-members // slots) if "num_gpus" in need else 1
        parts = [
            part for label in systems for part in _parts(label, systems[label], totals[label], folder, size)
        ]
        with Tasks(ray, need, sum(part.steps for part in parts)) as running:
            for part in parts:
                part.group.folder.mkdir(parents=True, exist_ok=True)
                arguments = part.label, part.first, len(part.group.configs), str(part.group.folder)
                running.start(part, tasks.train_group, job, *arguments)
            running.wait()
            running.start(None, tasks.write_report, job)
            running.wait()


def _parts(label: str, configs: Sequence[Config], total: int, folder: Path, size: int) -> Iterator[Part]:
    first = 0
    for group in groups_of(folder.absolute() / folder_name(label), configs, size):
        yield Part(label, group, first, total * len(group.configs))
        first += len(group.configs)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / ".lock"))
        except BlockingIOError as error:
            raise InUse(
                f"{folder} is in use by another comparison: wait, or give another --workdir."
            ) from error
        yield


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Drop what is written to standard error: Ray's C++ has a line there for each try to connect, and no switch."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _check_answers(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT).close()
    except OSError as error:
        raise UserError(
            f"--ray={address}: nothing answers there ({error.strerror or error}): give the HOST:PORT of a cluster's "
            "head, as `ray start --head` says it."
        ) from error


def _needs(ray: Any) -> tuple[dict[str, Any], int]:
    """What a task needs, in Ray's words, and how many such the cluster holds at once."""
    found = ray.cluster_resources()
    if gpus := int(found.get("GPU", 0)):
        return {"num_gpus": 1, "num_cpus": 1}, gpus
    # XLA's bits depend on the number of its threads: a task has those that the command has without a cluster, on
    # whatever machine. OpenBLAS has them from OMP_NUM_THREADS, which Ray would set to the task's CPUs.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = [os.environ.get(name, "") for name in ("PJRT_NPROC", "NPROC")]
    threads = next((int(text) for text in given if text.isdecimal() and int(text)), cores)
    largest = max((int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]), default=0)
    variables = {"PJRT_NPROC": str(threads), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(cores))}
    return {"num_cpus": min(threads, largest or threads), "runtime_env": {"env_vars": variables}}, 1
