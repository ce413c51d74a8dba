"""A run in several real processes on this machine: as one process computes it, killed, stopped and resumed in others."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gan_jax.checkpoint import Checkpoints
from gan_jax.processes.links import free_port

IMAGES = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1), np.uint8)
RUN = ("--dataset=own.npz", "--model=mlp", "--no_spectral_norm", "--batch_size=16", "--z_dim=8")
RUN = (*RUN, "--log_every=10", "--checkpoint_every=10", "--workdir=run")
STEPS = ("--steps=60",)

# The command, in which process I's part in the N-th agreement to go on is preceded by something.
BEFORE = """
import os, signal, sys, time
from gan_jax import cli, train
from gan_jax.processes.follower import Follower
from gan_jax.processes.leader import Leader

kind = Leader if "--process_id=0" in sys.argv else Follower
stops, count = kind.stops, 0

def before(self, received):
    global count
    count += 1
    if count == {number}:
        {act}
    return stops(self, received)

kind.stops = before
cli.run(train.main)
"""
KILL = "os.kill(os.getpid(), signal.SIGKILL)"
# The others wait for this process's share of the next steps, and the leader hears of the signal meanwhile.
STOP = "os.kill(os.getpid(), signal.SIGTERM); time.sleep(2)"


class Started:
    """The processes of a run, started in `folder` on four devices altogether; `scripts` in place of some's command."""

    def __init__(self, folder: Path, count: int, *flags: str, scripts: dict[int, str] | None = None) -> None:
        port = free_port()
        xla = f"--xla_force_host_platform_device_count={4 // count} --xla_backend_optimization_level=0"
        self.processes = []
        for i in range(count):
            script = (scripts or {}).get(i)
            what = ["-m", "gan_jax.train"] if script is None else ["-c", script]
            where = [f"--coordinator=127.0.0.1:{port}", f"--num_processes={count}", f"--process_id={i}"]
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-W", "error", *what, *RUN, *flags, *where],
                    cwd=folder,
                    env={**os.environ, "XLA_FLAGS": xla},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )

    def ended(self) -> list[tuple[int, str, str]]:
        """(exit code, output, errors) of each, once all have ended."""
        found = []
        for process in self.processes:
            out, err = process.communicate(timeout=400)
            found.append((process.returncode, out, err))
        return found


def run(folder: Path, count: int, *flags: str, **options: dict[int, str]) -> list[tuple[int, str, str]]:
    started = Started(folder, count, *flags, **options)
    try:
        return started.ended()
    finally:
        for process in started.processes:
            process.kill()


def newest(folder: Path) -> tuple[int, dict[str, np.ndarray]]:
    with Checkpoints(folder / "run" / "checkpoints") as checkpoints:
        found = checkpoints.restore(pytest.fail)
    assert found is not None
    return found


def rows(folder: Path) -> list[dict[str, float]]:
    found = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "steps_per_s"} for row in found]


def assert_same_run(one: Path, other: Path) -> None:
    """Up to the order in which the devices' shares are added up."""
    (step, first), (last, second) = newest(one), newest(other)
    assert (step, first.keys()) == (last, second.keys())
    for name, array in first.items():
        np.testing.assert_allclose(array, second[name], rtol=1e-3, atol=1e-4, err_msg=name)
    assert len(rows(one)) == len(rows(other)) == 6
    for row, twin in zip(rows(one), rows(other), strict=True):
        assert row == pytest.approx(twin, rel=1e-3, abs=1e-4)


def folder_of_images(folder: Path) -> Path:
    np.savez(folder / "own.npz", images=IMAGES)
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, cache_home: Path) -> Path:
    """A folder with the run of one process."""
    folder = folder_of_images(tmp_path_factory.mktemp("alone"))
    [(code, _, err)] = run(folder, 1, *STEPS)
    assert (code, err) == (0, "")
    return folder


def test_two_processes_compute_what_one_does_and_the_first_alone_writes_and_speaks(
    alone: Path, tmp_path: Path
) -> None:
    folder_of_images(tmp_path)
    (code, out, err), other = run(tmp_path, 2, *STEPS)
    assert (code, err, other) == (0, "", (0, "", "")), (out, err, other)
    assert "on 4 × cpu of 2 processes" in out
    assert "Done: run/samples.png" in out
    assert_same_run(alone, tmp_path)
    assert sorted(os.listdir(tmp_path / "run")) == sorted(os.listdir(alone / "run"))


def test_killed_in_four_stopped_in_two_and_resumed_in_one_and_in_four(alone: Path, tmp_path: Path) -> None:
    folder_of_images(tmp_path)
    begin = time.monotonic()
    four = run(tmp_path, 4, *STEPS, scripts={2: BEFORE.format(number=4, act=KILL)})
    assert [code for code, _, _ in four] == [1, 1, -signal.SIGKILL, 1], four
    print("four", time.monotonic() - begin)
    for _, _, err in (four[0], four[1], four[3]):
        assert err.startswith(
            "error: process 2 of 4 has ended, or cannot be reached. Run the same commands again"
        )
        assert err.count("\n") == 1

    two = run(tmp_path, 2, *STEPS, scripts={1: BEFORE.format(number=1, act=STOP)})
    assert [code for code, _, _ in two] == [128 + signal.SIGTERM] * 2, two
    assert "rerun the same command to go on" in two[0][1]
    stopped, _ = newest(tmp_path)
    assert 0 < stopped < 60
    assert f"Stopped at step {stopped} of 60" in two[0][1]

    [(code, out, _)] = run(tmp_path, 1, f"--steps={stopped + 5}")
    assert code == 0
    assert f"resuming at step {stopped} of {stopped + 5}" in out

    last = run(tmp_path, 4, *STEPS)
    assert [code for code, _, _ in last] == [0] * 4, last
    assert f"resuming at step {stopped + 5} of 60" in last[0][1]
    (_, found), (_, expected) = newest(tmp_path), newest(alone)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-3, atol=1e-4, err_msg=name)
