"""Comparisons on a Ray cluster: two machines, as far as Ray knows, of which one is killed in the middle of its task."""

import contextlib
import dataclasses
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gan_jax
from gan_jax.comparison import tasks
from gan_jax.comparison.groups import groups_of, join
from gan_jax.comparison.scoring import write_scores
from gan_jax.errors import InUse
from gan_jax.loading import load_population
from gan_jax.population_run import train_population
from gan_jax.state import to_arrays
from tests.conftest import Start

Command = Callable[..., subprocess.CompletedProcess[str]]

SYSTEM = ["--model=mlp", "--no_spectral_norm", "--ema=0", "--batch_size=16", "--z_dim=8"]
FLAGS = [
    *SYSTEM,
    "--systems",
    "hinge",
    "--dataset=own.npz",
    "--num=80",
    "--log_every=4",
    "--checkpoint_every=4",
]
WRITTEN = ("report.md", "results.json", "results.csv", "hinge/metrics.jsonl", "hinge/scores.json")

# Has a training stand still, before it saves, from the step on that the file `hold` says.
HOLD = """
import pathlib, time
from gan_jax import population_run

row = population_run._row

def held(population):
    seed = population.configs[0].seed
    with open("rows", "a") as rows:
        rows.write(f"{seed} {population.step}\\n")
    while population.step >= int("0" + (pathlib.Path("hold").read_text() if pathlib.Path("hold").exists() else "99")):
        time.sleep(0.05)
    return row(population)

population_run._row = held
"""


@pytest.fixture
def own(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "own.npz", images=rng.integers(0, 256, (500, 8, 8, 1), np.uint8))


def assert_same(one: Path, other: Path, members: int) -> None:
    """The reports are the same to the byte, and the members to the bit."""
    for name in WRITTEN:
        assert (one / name).read_text() == (other / name).read_text(), name
    for i in range(members):
        assert_same_bits(*(gan_jax.load(c / "hinge", member=i).state for c in (one, other)))


def assert_same_bits(one: Any, other: Any) -> None:
    first, second = to_arrays(one), to_arrays(other)
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


@pytest.mark.long
def test_groups_joined_are_the_population_that_was_never_divided(
    tmp_path: Path, small: Callable[..., gan_jax.Config]
) -> None:
    configs = [small(seed=i, steps=12, log_every=4, checkpoint_every=8) for i in range(3)]
    configs[2] = dataclasses.replace(configs[2], d_learning_rate=1e30)  # diverges, alone in its group
    images = np.random.default_rng(0).integers(0, 256, (70, 8, 8, 1), np.uint8)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_population(whole, configs, images, warn=pytest.fail)
    groups = groups_of(parts, configs, 2)
    for group in groups:
        train_population(group.folder, group.configs, images, warn=pytest.fail)
    key: dict[str, Any] = {"step": 12, "protocol": "p", "network": "n"}
    write_scores(groups[0].folder / "scores.json", key, [{"x": 1.0}, {"x": 2.0}])
    joined = join(parts, configs, groups, pytest.fail)
    assert joined.diverged.tolist() == load_population(whole).diverged.tolist()
    assert (joined.diverged >= 0).tolist() == [False, False, True]
    for step in (8, 12):  # were the last damaged, the run would go on from the one before
        assert_same_bits(load_population(parts, step).members, load_population(whole, step).members)
    for name in ("config.json", "metrics.jsonl"):
        assert (parts / name).read_text() == (whole / name).read_text()
    found = json.loads((parts / "scores.json").read_text())
    assert found == {**key, "scores": [{"x": 1.0}, {"x": 2.0}, {}], "sha256": found["sha256"]}
    assert groups_of(parts, configs, 2) == [(parts, tuple(configs))]
    assert not groups[0].folder.exists()


def test_what_was_begun_keeps_its_groups(tmp_path: Path, small: Callable[..., gan_jax.Config]) -> None:
    configs = [small(seed=i) for i in range(5)]
    groups = groups_of(tmp_path, configs, 2)
    assert [[c.seed for c in group.configs] for group in groups] == [[0, 1], [2, 3], [4]]
    groups[0].folder.mkdir(parents=True)
    assert groups_of(tmp_path, configs, 1) == groups_of(tmp_path, configs, 5) == groups
    (tmp_path / "config.json").touch()
    assert groups_of(tmp_path, configs, 2) == [(tmp_path, tuple(configs))]
    (tmp_path / "config.json").unlink()
    shutil.rmtree(groups[0].folder.parent)
    (tmp_path / "checkpoints" / "12").mkdir(parents=True)  # of a whole one whose config.json is lost
    assert groups_of(tmp_path, configs, 2) == [(tmp_path, tuple(configs))]


def test_a_task_waits_for_a_lost_machines_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = iter([InUse("in use"), InUse("in use"), None])

    def act() -> str:
        if error := next(tries):
            raise error
        return "done"

    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    assert tasks.patiently(act) == "done"
    monkeypatch.setattr(tasks, "PATIENCE", -1)
    tries = iter([InUse("in use")])
    with pytest.raises(InUse):
        tasks.patiently(act)


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--ray=here", "--ray=here is not allowed: it must be HOST:PORT, auto, or nothing"),
        ("--ray=ray://127.0.0.1:10001", "it must be HOST:PORT, auto, or nothing"),
        ("--ray=127.0.0.1:1", "--ray=127.0.0.1:1: nothing answers there (Connection refused)"),
    ],
)
def test_a_wrong_address_is_one_line(
    in_process: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flag: str, words: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)  # also without Ray
    done = in_process("compare", "--systems", "hinge", flag)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert words in line
    assert not list(tmp_path.iterdir())


def test_without_ray_the_extra_is_named(in_process: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    done = in_process("compare", "--systems", "hinge", "--ray")
    assert done.returncode == 2
    assert done.stderr == "error: --ray needs Ray: pip install 'gan_jax[ray]'.\n"


def descendants(pid: int) -> list[int]:
    """The process and all that come of it."""
    children = (Path(f"/proc/{pid}/task") / str(pid) / "children").read_text().split()
    return [pid, *(found for child in children for found in descendants(int(child)))]


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a node of Ray's at once, its workers with it."""
    for pid in descendants(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A cluster's address, and its two nodes, for a task each."""
    pytest.importorskip("ray", reason="Ray is missing: pip install 'gan_jax[ray]'")
    folder = tempfile.mkdtemp(prefix="ray")  # a short path, for sockets
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    # A node that does not answer is given up after three seconds instead of fifteen.
    env = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_health_check_period_ms": "1000"}
    env |= {"RAY_health_check_failure_threshold": "3"}
    common = ["--num-cpus=1", "--object-store-memory=80000000", "--node-ip-address=127.0.0.1", "--block"]
    port = address.partition(":")[2]
    head = ["--head", f"--port={port}", f"--temp-dir={folder}", "--include-dashboard=false"]
    started = []
    try:
        for flags in (head, [f"--address={address}"]):
            line = [sys.executable, "-m", "ray.scripts.scripts", "start", *flags, *common]
            started.append(
                subprocess.Popen(line, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )
            until(lambda: answers(address))
        yield address, started
    finally:
        for process in started:
            if process.poll() is None:
                kill(process)
        shutil.rmtree(folder, ignore_errors=True)


def answers(address: str) -> bool:
    host, _, port = address.partition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port))):
        return True
    return False


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 240
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_stopped_and_robbed_of_a_machine_it_ends_as_an_undisturbed_local_run(
    nodes: tuple[str, list[subprocess.Popen[bytes]]],
    command: Command,
    own: None,
    tmp_path: Path,
    start: Start,
) -> None:
    address, (_, second) = nodes
    flags = [*FLAGS, "--seeds=2", "--steps=24"]
    whole = command("compare", *flags, "--workdir=whole")
    assert whole.returncode == 0, whole.stderr
    (tmp_path / "hold.py").write_text(HOLD)
    line = [sys.executable, "-W", "error", "-m", "gan_jax.compare", *flags, "--plugin=hold.py"]
    line += ["--workdir=parts", f"--ray={address}"]

    def begin(hold: int) -> subprocess.Popen[str]:
        """Start the command, and let both members come to a step."""
        (tmp_path / "rows").write_text("")
        (tmp_path / "hold").write_text(str(hold))
        begun = start(line)
        at = [f"{seed} {hold}" for seed in range(2)]
        until(lambda: begun.poll() is not None or {*at} <= {*(tmp_path / "rows").read_text().splitlines()})
        return begun

    begun = begin(8)
    begun.send_signal(signal.SIGINT)
    assert begun.stderr is not None
    assert begun.stderr.readline() == "\n"
    assert begun.stderr.readline().startswith("stopping: the steps at hand are finished and saved first")
    time.sleep(1)  # so that the tasks have heard of it
    (tmp_path / "hold").unlink()
    out, err = begun.communicate(timeout=120)
    assert (begun.returncode, err) == (130, "")
    assert "Stopped at step 8 of 48; rerun the same command to go on" in out

    begun = begin(16)
    saved = [
        group / "checkpoints" / "12" for group in (tmp_path / "parts" / "hinge" / "groups_of_1").iterdir()
    ]
    assert len(saved) == 2
    until(lambda: all(path.is_dir() for path in saved))
    kill(second)
    (tmp_path / "hold").unlink()
    out, err = begun.communicate(timeout=240)
    assert (begun.returncode, err) == (0, "")
    assert (tmp_path / "whole" / "report.md").read_text() in out
    rows = [tuple(map(int, row.split())) for row in (tmp_path / "rows").read_text().splitlines()]
    again = [sorted(step for seed, step in rows if seed == s) for s in range(2)]
    # Both went on from the 8 steps that the signal left; the lost one once more from its last checkpoint.
    assert sorted(again) == [[12, 16, 16, 20, 24], [12, 16, 20, 24]]
    assert_same(tmp_path / "whole", tmp_path / "parts", 2)
    found = json.loads((tmp_path / "parts" / "results.json").read_text())
    assert len(found["systems"]["hinge"]["members"]) == 2
