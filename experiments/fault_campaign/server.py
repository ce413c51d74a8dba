"""Runs gan_jax's commands in processes of their own that need no second to import it: each is a fork of this one.

    LD_PRELOAD=shim.so python -m experiments.fault_campaign.server

A line of JSON comes in, {"command": "train", "args": [...], "fault": {...}}, and one goes out,
{"rc": ..., "out": ..., "err": ...}.
"""

import atexit
import contextlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from experiments.fault_campaign import shim
from experiments.fault_campaign.cases import Ended
from gan_jax import cli

LIMIT = 240.0  # seconds, after which a run is taken to hang


def serve() -> None:
    """Answer requests until there are no more."""
    for name in ("train", "compare", "evaluation.named", "features.random_net", "pictures", "drawing"):
        importlib.import_module(f"gan_jax.{name}")
    importlib.import_module("matplotlib.backends.backend_agg")
    for line in sys.stdin:
        request = json.loads(line)
        folder = Path(tempfile.mkdtemp())  # no TemporaryDirectory, which the child would remove as it ends
        paths = [folder / name for name in ("out", "err", "ops")]
        begin = time.monotonic()
        child = os.fork()
        if not child:
            _become(request, paths)
        code = _wait(child, request["fault"])
        texts = [path.read_text(errors="replace") if path.exists() else "" for path in paths]
        shutil.rmtree(folder)
        answer = {"rc": code, "out": texts[0], "err": texts[1], "ops": int(texts[2] or 0)}
        print(json.dumps({**answer, "seconds": time.monotonic() - begin}), flush=True)


def _become(request: dict[str, Any], paths: list[Path]) -> None:
    """The child: a command with its own streams, and the fault armed."""
    out, err, ops = paths
    for number, path in ((0, Path(os.devnull)), (1, out), (2, err)):
        opened = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.update(request.get("env", {}))
    sys.stdin = open(os.devnull)  # noqa: SIM115
    fault = request["fault"]
    if shim.preloaded():
        shim.arm(**fault)
    main = importlib.import_module(f"gan_jax.{request['command']}").main
    sys.argv = [f"gan_jax.{request['command']}", *request["args"]]
    code: Any = 0
    try:
        cli.run(main)
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()  # as at the end of any process, which this one reaches here
    sys.stdout.flush()
    sys.stderr.flush()
    if shim.preloaded():
        ops.write_text(str(shim.count()))
    os._exit(code)


def _wait(child: int, fault: dict[str, Any]) -> int | str:
    """The child's exit code, minus the signal that killed it, or "hang"."""
    begin = time.monotonic()
    after = fault.get("after")  # seconds until the signal `with`
    while time.monotonic() - begin < LIMIT:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if after is not None and time.monotonic() - begin >= after:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, fault["signal"])
            after = None
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hang"


class Client:
    """Who asks: it starts the process that forks one for each command."""

    def __init__(self) -> None:
        """It starts when it is needed."""
        self._process: Any = None

    def ask(
        self,
        command: str,
        args: list[str],
        env: dict[str, str] | None = None,
        kind: str = "none",
        **fault: Any,
    ) -> Ended:
        """Have a process of its own run the command, with a fault."""
        if self._process is None:
            line = [sys.executable, "-m", "experiments.fault_campaign.server"]
            self._process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        request = {"command": command, "args": args, "env": env or {}, "fault": {"kind": kind, **fault}}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return Ended(answer["rc"], answer["out"], answer["err"])


if __name__ == "__main__":
    serve()
