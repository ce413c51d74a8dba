"""A contender in a process of its own, so that its start and its memory are its own: both ends.

`Process` starts this file as a program, which answers requests, JSON a line each, from standard input to standard
output with the methods of `Worker`. A PyTorch contender's process imports no JAX, and a JAX contender's no PyTorch.
"""

import contextlib
import importlib
import json
import math
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmark.contender import Contender
from gan_jax.errors import UserError

MODULES = {
    "gan_jax": "experiments.benchmark.jax_contenders",
    "eager": "experiments.benchmark.torch_contenders",
    "compile": "experiments.benchmark.torch_contenders",
    "naive": "experiments.benchmark.jax_contenders",
}
LEAST_STEPS = 5  # of a round


class Failed(UserError):
    """A contender cannot run; the message says why."""


class Process:
    """A running `Worker`, from outside."""

    def __init__(self, folder: str) -> None:
        """Start one. PyTorch's compiled programs go to `folder`, JAX's are not kept."""
        env = {
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # by default a process takes most of a GPU's memory
            **os.environ,
            "JAX_ENABLE_COMPILATION_CACHE": "false",
            "TORCHINDUCTOR_CACHE_DIR": folder,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "experiments.benchmark.worker"],
            env=env,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def ask(self, method: str, **arguments: Any) -> Any:
        """What the `Worker`'s method returns. Raises `Failed`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps([method, arguments]) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise Failed(f"its process ended with exit code {self._process.wait()}")
        value, error = json.loads(line)
        if error:
            raise Failed(error)
        return value

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()


class Worker:
    """The contenders of this process, by name."""

    def __init__(self) -> None:
        """None yet."""
        self._contenders: dict[str, Contender] = {}
        self._steps: dict[str, int] = {}

    def build(self, name: str, config: dict[str, Any], images: str, device: str, seconds: float) -> Any:
        """Build a contender, run it, and choose the steps of a round, which is to take about `seconds`."""
        module, data = importlib.import_module(MODULES[name]), np.load(images)
        machine, before = module.machine(device), _process_peak()
        begin = time.perf_counter()
        contender: Contender = getattr(module, name)(config, data, device)
        contender.run(contender.unit)
        first = time.perf_counter() - begin
        least = math.ceil(LEAST_STEPS / contender.unit) * contender.unit
        # CUDA graphs are recorded in the second and third step; two chunks are in flight at a time.
        contender.run(max(least, 2 * contender.unit))
        begin = time.perf_counter()
        contender.run(least)
        units = seconds / (time.perf_counter() - begin) * least / contender.unit
        alone = not self._contenders  # the device's peak is of all that its process has run
        self._contenders[name] = contender
        self._steps[name] = max(least, round(units) * contender.unit)
        return {
            "machine": machine,
            "parameters": contender.parameters,
            "steps_per_call": contender.unit,
            "steps_per_round": self._steps[name],
            "first_call_s": first,
            "device_peak_bytes": module.device_peak() if alone else None,
            "process_peak_bytes": _process_peak() if alone else None,
            "process_peak_bytes_before": before,
        }

    def round(self, name: str) -> float:
        """Train for a round: milliseconds per step."""
        begin = time.perf_counter()
        self._contenders[name].run(self._steps[name])
        return 1e3 * (time.perf_counter() - begin) / self._steps[name]

    def end(self, name: str) -> Any:
        """What is known at the end. Raises if training has gone wrong."""
        losses = self._contenders[name].run(self._contenders[name].unit)
        if not np.isfinite(losses).all():
            raise ValueError(f"its losses are no longer finite: {losses}")
        return {"losses": losses, "note": self._contenders[name].note()}

    def matrix_rates(self) -> Any:
        """`jax_contenders.matrix_rates`."""
        return importlib.import_module("experiments.benchmark.jax_contenders").matrix_rates()

    def flop(self, config: dict[str, Any]) -> Any:
        """`jax_contenders.flop`."""
        return importlib.import_module("experiments.benchmark.jax_contenders").flop(config)

    def whole_run(self, config: dict[str, Any], images: str, steps: int) -> float:
        """Seconds that our loop takes to build, compile and train so many steps."""
        module, data = importlib.import_module(MODULES["gan_jax"]), np.load(images)
        begin = time.perf_counter()
        contender: Contender = module.gan_jax(config, data, "")
        contender.run(math.ceil(steps / contender.unit) * contender.unit)
        return time.perf_counter() - begin


def _process_peak() -> int:
    """The most bytes of memory that this process has held."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux ru_maxrss starts at what the parent process held
        peak = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(peak[0].split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Answer requests until there are no more."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as replies:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no reply
        worker = Worker()
        for line in sys.stdin:
            method, arguments = json.loads(line)
            value, error = None, ""
            try:
                value = getattr(worker, method)(**arguments)
            except Exception as problem:
                first_line = (str(problem).strip() or "no message").splitlines()[0]
                error = f"{type(problem).__name__}: {first_line}"
            print(json.dumps([value, error]), file=replies, flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):  # the parent process says so
        main()
