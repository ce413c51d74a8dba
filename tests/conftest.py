"""Eight virtual CPU devices, and JAX as strict as it gets: set before any test imports it."""

import os

from experiments.alarm import alarm
from experiments.quick_flags import QUICK_FLAGS

os.environ["JAX_PLATFORMS"] = "cpu"  # also where there is a GPU: the tests count on eight devices
# Compiling would be most of the session. OPTIMIZED=1 compiles as for users: so .ci/run runs once more what depends on
# rounding.
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
if os.environ.get("OPTIMIZED") != "1":
    os.environ["XLA_FLAGS"] += f" {QUICK_FLAGS}"
# With a bound on its size JAX locks the cache of programs: two processes then read no entry half written.
os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(2**33)

import contextlib
import dataclasses
import importlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from gan_jax import cli, data
from gan_jax.config import Config
from gan_jax.features import classifier
from gan_jax.storage import sha256_of_data

# Ignored in a shell's background or under nohup, and by children then.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
jax.config.update("jax_numpy_rank_promotion", "raise")  # (B, 1) against (B,) is an error, not (B, B)

Command = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]


def alone(devices: int = 1) -> dict[str, str]:
    """The environment of a process with so many devices of its own."""
    others = os.environ["XLA_FLAGS"].split()[1:]
    return {
        **os.environ,
        "XLA_FLAGS": " ".join([f"--xla_force_host_platform_device_count={devices}", *others]),
    }


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Has `-p no:xdist` accept, and ignore, the flags of pytest-xdist that pyproject.toml gives."""
    if not pluginmanager.hasplugin("xdist"):
        for flag in ("--numprocesses", "--maxprocesses", "--dist"):
            parser.addoption(flag, help="needs pytest-xdist")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves to CI the long tests, and those that need the compiler's optimizations."""
    for marker in ("long", "optimized"):
        if os.environ.get(marker.upper()) != "1":
            for item in items:
                if item.get_closest_marker(marker):
                    item.add_marker(pytest.mark.skip(reason=f"{marker}: {marker.upper()}=1 runs it"))


_skipped: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Notes a skipped test; in the process that reports, whichever ran it."""
    if report.skipped and isinstance(report.longrepr, tuple):
        _skipped.append(report.longrepr[2].removeprefix("Skipped: "))


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Notes a skipped file."""
    if report.skipped and isinstance(report.longrepr, tuple):
        _skipped.append(report.longrepr[2].removeprefix("Skipped: "))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the session for a skip whose reason is not a line of the file that $ALLOWED_SKIPS names, as in CI."""
    if "ALLOWED_SKIPS" not in os.environ or "PYTEST_XDIST_WORKER" in os.environ:
        return
    allowed = Path(os.environ["ALLOWED_SKIPS"]).read_text().splitlines()
    if unlisted := sorted({reason for reason in _skipped if reason not in allowed}):
        print(f"\nskipped, and not in {os.environ['ALLOWED_SKIPS']}: {'; '.join(unlisted)}", file=sys.stderr)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of the test session's own: MNIST is prepared, and programs are compiled, once.

    pytest-xdist's workers, each of which has a folder of its own in the session's, share it.
    """
    folder = tmp_path_factory.getbasetemp()
    home = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "cache"
    home.mkdir(exist_ok=True)
    jax.config.update(
        "jax_compilation_cache_dir", str(home / "gan_jax" / "xla")
    )  # where the commands have it
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home))
        yield home


@pytest.fixture(scope="module", autouse=True)
def programs_dropped() -> Iterator[None]:
    """Programs are kept for the files that follow, as far as a process may hold them.

    Each takes memory maps, of which Linux gives a process 65,530; 20,000 go with 6 GB of memory.
    """
    yield
    maps = Path("/proc/self/maps")
    if not maps.exists() or maps.read_bytes().count(b"\n") > 8_000:
        jax.clear_caches()


@pytest.fixture(autouse=True)
def goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that fails in this process does not end it, and so must not silence what comes after."""
    monkeypatch.setattr(cli, "_end_quietly", lambda: None)


@pytest.fixture(scope="session")
def mnist(cache_home: Path) -> np.ndarray:
    """MNIST's train images, uint8 [60000, 28, 28, 1]."""
    return data.load("mnist", "train")[0]


@contextlib.contextmanager
def few_of_mnist() -> Iterator[np.ndarray]:
    """In this process the set called mnist has only its first 10,000 train images, uint8 [10000, 28, 28, 1].

    They have MNIST's classifier. To judge by all of them takes six times as long.
    """
    load, shipped = data.DATASETS["mnist"], classifier.SHIPPED["mnist"]
    few = lambda split, data_dir: tuple(array[:10_000] for array in load(split, data_dir))
    images, labels = few("train", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(data.DATASETS, "mnist", few)
        patch.setitem(classifier.SHIPPED, "mnist", shipped._replace(data=sha256_of_data(images, labels)))
        yield images


@pytest.fixture
def small() -> Callable[..., Config]:
    """A config for quick runs, with the given fields changed."""
    plain = Config(model="mlp", penalty=(), batch_size=16, z_dim=8, ema=0.0)
    return lambda **fields: dataclasses.replace(plain, **fields)


@pytest.fixture
def compiled() -> Iterator[list[str]]:
    """Grows by an entry with each program that is compiled, or read from the cache of programs."""
    events: list[str] = []

    def listener(event: str, seconds: float, **_: Any) -> None:
        if "backend_compile" in event:
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listener)
    yield events
    jax.monitoring.unregister_event_duration_listener(listener)


@pytest.fixture
def command(tmp_path: Path, mnist: np.ndarray) -> Command:
    """Runs `python -m gan_jax.NAME args…` in tmp_path with warnings as errors; returns what it did.

    On `devices` of its own. Its bits may differ from this process's on as many: XLA has other threads there.
    """

    def run(name: str, *args: str, devices: int = 1) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", f"gan_jax.{name}", *args],
            cwd=tmp_path,
            env=alone(devices),
            capture_output=True,
            text=True,
            timeout=600,
        )

    return run


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a command line in tmp_path and goes on. A process that its test leaves behind is killed."""
    started: list[subprocess.Popen[str]] = []

    def begin(command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        usual = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": alone()}
        started.append(subprocess.Popen(command, cwd=tmp_path, text=True, **{**usual, **options}))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def goes_on_and_on() -> None:
    pytest.fail("the command goes on: is it one that should have been refused?")


@pytest.fixture
def in_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mnist: np.ndarray
) -> Command:
    """Does in this process what `command` does in another, without the seconds that each start takes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "_end_quietly", lambda: None)  # this process goes on
    every = jax.devices()

    def run(name: str, *args: str, devices: int = 1) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(jax, "devices", lambda: every[:devices])
        monkeypatch.setattr(sys, "argv", [name, *args])
        capsys.readouterr()
        with alarm(600, goes_on_and_on), pytest.raises(SystemExit) as stop:
            cli.run(importlib.import_module(f"gan_jax.{name}").main)
        code = stop.value.code or 0
        assert isinstance(code, int)
        return subprocess.CompletedProcess(args, code, *capsys.readouterr())

    return run
