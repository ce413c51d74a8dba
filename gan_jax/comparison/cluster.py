"""A comparison on a Ray cluster: its groups of members are tasks, which Ray starts again where a machine is lost.

This process computes nothing. What the tasks make is in the comparison's folder, which must be on a file system that
every machine sees; the last task writes the report there, as the command does without a cluster.
"""

import contextlib
import functools
import importlib.util
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from tqdm import tqdm

from gan_jax import options, plugins, report
from gan_jax.comparison import tasks
from gan_jax.comparison.groups import Group, groups_of
from gan_jax.comparison.systems import Options, folder_name
from gan_jax.config import Config
from gan_jax.errors import InUse, UserError
from gan_jax.options import options_of
from gan_jax.stopping import Stopped, signals
from gan_jax.storage import locked

RETRIES = 20  # of a task, each time with another lost machine
CONNECT = 10  # seconds for a cluster to answer
STOP = 120  # seconds for the tasks to end their steps at hand and save them
PASSED_ON = ("JAX_", "XLA_", "XDG_CACHE_HOME")  # how the variables begin that are as here on the machines


Systems = Mapping[str, Sequence[Config]]  # the members' configs, by the system's name


class Part(NamedTuple):
    """A task's: a group of a system, and the steps of all its members together."""

    label: str
    group: Group
    first: int
    steps: int


@contextlib.contextmanager
def connected(address: str) -> Iterator[Callable[[Options, Systems, Mapping[str, int], Path], None]]:
    """Connect to the cluster at `--ray`'s address, or start one of this machine alone; yields what compares on it.

    To be entered before JAX finds its devices: it has threads then, and Ray's processes are forked.

    Raises:
      UserError: if there is no cluster, or no Ray here.
    """
    if importlib.util.find_spec("ray") is None:
        raise UserError("--ray needs Ray: pip install 'gan_jax[ray]'.")
    own: dict[str, Any] = {}
    if address == "local":
        own = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    elif address != "auto":
        _check_answers(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else a warning that it will be so
    import ray

    passed = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    try:
        ray.init(address=address, runtime_env={"env_vars": passed}, **quiet, **own)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        words = " ".join(str(error).split())[:200]
        raise UserError(f"--ray={address}: no Ray cluster can be used there ({words}).") from error
    jax.config.update("jax_platforms", "cpu")  # an accelerator of this machine is for the tasks
    try:
        yield functools.partial(_compare, ray)
    finally:
        ray.shutdown()


def _compare(ray: Any, options_: Options, systems: Systems, totals: Mapping[str, int], folder: Path) -> None:
    """Train, score and report in `folder`. `totals` are the systems' steps.

    Raises:
      UserError: for what the user can mend, here or on a machine of the cluster.
      Stopped: after a signal; what was done is saved.
    """
    given = {name: getattr(options_, name) for name in options_of(Options)}
    given = {name: value for name, value in given.items() if value is not options.UNSET}
    given |= {"workdir": str(folder.absolute()), "ray": None}
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
        with _Tasks(ray, need, sum(part.steps for part in parts)) as running:
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
    try:
        with locked(folder / ".lock"):
            yield
    except BlockingIOError as error:
        raise InUse(f"{folder} is in use by another comparison: wait, or give another --workdir.") from error


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
    threads = int(os.environ.get("PJRT_NPROC") or os.environ.get("NPROC") or cores)
    largest = max((int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]), default=0)
    variables = {"PJRT_NPROC": str(threads), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(cores))}
    return {"num_cpus": min(threads, largest or threads), "runtime_env": {"env_vars": variables}}, 1


class _Tasks:
    """Tasks at work, the bar that counts their members' steps, and how they end. A context manager."""

    def __init__(self, ray: Any, need: Mapping[str, Any], total: int) -> None:
        self._ray, self._need = ray, need
        self._at_work: dict[Any, Part | None] = {}
        self._members, self._trained, self._done, self._lost = 0, 0, 0, 0
        self._bar = tqdm(total=total, unit="step", unit_scale=True, disable=None, dynamic_ncols=True)
        self._while_open = contextlib.ExitStack()
        self._received: list[int] = []

    def __enter__(self) -> "_Tasks":
        # Entered once Ray is connected, whose own handler of SIGTERM it replaces.
        self._received = self._while_open.enter_context(signals())
        self._while_open.enter_context(self._bar)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        with self._while_open:
            for task in self._at_work:
                self._ray.cancel(task)  # as Ctrl-C would: the steps at hand end and are saved
            if self._at_work:
                self._ray.wait(list(self._at_work), num_returns=len(self._at_work), timeout=STOP)

    def start(self, part: Part | None, act: Any, *arguments: Any) -> None:
        """Have the function called on a machine of the cluster."""
        remote = self._ray.remote(act).options(
            **self._need, max_retries=RETRIES, retry_exceptions=[tasks.Interrupted], name=act.__name__
        )
        self._at_work[remote.remote(*arguments)] = part
        self._members += 0 if part is None else len(part.group.configs)

    def wait(self) -> None:
        """Return once all tasks are done. Raises `Stopped`, and `UserError` for the first that failed."""
        while self._at_work:
            done, _ = self._ray.wait(list(self._at_work), timeout=1)
            for task in done:
                self._take(task)
            self._show()
            if self._received:
                raise Stopped(int(self._bar.n), int(self._bar.total), self._received[0])

    def _take(self, task: Any) -> None:
        part = self._at_work.pop(task)
        what = "the report" if part is None else f"{part.label}, {len(part.group.configs)} members from seed "
        what += "" if part is None else str(part.group.configs[0].seed)
        try:
            answer = self._ray.get(task)
        except self._ray.exceptions.RayTaskError:
            raise  # a fault of the package's own: its traceback is in it
        except self._ray.exceptions.RayError as error:
            words = " ".join(str(error).split())[:200]
            raise UserError(
                f"{what}: lost for good ({words}). What is saved stays; rerun to go on."
            ) from error
        for warning in answer.warnings:
            report.warn(warning)
        if answer.error is not None:
            raise UserError(f"{what}, {answer.error}")
        if part is not None:
            self._done += part.steps
            self._trained += len(part.group.configs)

    def _show(self) -> None:
        steps, lost = self._done, 0
        for part in filter(None, self._at_work.values()):
            with contextlib.suppress(OSError, ValueError):  # not begun, or ended just now
                step, diverged = map(int, (part.group.folder / tasks.PROGRESS).read_text().split())
                steps, lost = steps + step * len(part.group.configs), lost + diverged
        words = f"{self._trained} of {self._members} members done" + (f", {lost} diverged" if lost else "")
        self._bar.set_description(words, refresh=False)
        self._bar.update(steps - self._bar.n)
