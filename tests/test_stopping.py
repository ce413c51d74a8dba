"""Signals, in processes of their own, and readers that go away."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gan_jax import pictures, report, train, workdir
from gan_jax.config import Config
from gan_jax.parts import Facts
from tests.conftest import Command, Start, alone

TRAIN = (sys.executable, "-m", "gan_jax.train", "--dataset=own.npz", "--model=mlp", "--penalty")
TRAIN = (*TRAIN, "--batch_size=8", "--z_dim=8")
QUICK = (*TRAIN, "--steps=20", "--log_every=10", "--checkpoint_every=10", "--workdir=run")


@pytest.fixture(autouse=True)
def own(tmp_path: Path) -> None:
    """Images for the runs to be of, which are read in no time."""
    images = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "own.npz", images=images)


def test_a_second_signal_ends_a_run_in_the_middle_of_a_long_chunk(tmp_path: Path, start: Start) -> None:
    number = signal.SIGINT
    endless = (*TRAIN, "--steps=100000000", "--log_every=100000000", "--checkpoint_every=100000000")
    process = start((*endless, "--workdir=run"))
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()  # what it begins with
    while not (tmp_path / "run" / "samples").is_dir():  # the last that is made before the steps
        assert process.poll() is None
        time.sleep(0.1)
    time.sleep(3)  # compiling, which a signal ends just as well
    process.send_signal(number)
    assert process.stderr.readline() == "\n"
    said = process.stderr.readline()
    if said != "interrupted\n":
        assert said.startswith("stopping: the steps at hand are finished and saved first; once more")
        process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Traceback" not in err
    assert "Exception ignored" not in err
    assert "Done" not in out
    assert not list((tmp_path / "run").glob(".*.png*"))


@pytest.mark.parametrize("delay", [0.3, 2.0])
def test_a_signal_before_the_steps_ends_the_command_without_a_traceback(
    delay: float, tmp_path: Path, start: Start
) -> None:
    process = start((*QUICK, "--steps=100000000"))
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode in (-signal.SIGINT, 128 + signal.SIGINT)
    assert "Traceback" not in err
    assert "Done" not in out


def test_a_terminal_that_goes_away_stops_a_run_that_saves_first(
    tmp_path: Path, in_process: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = report.Report.log

    def hung_up(self: report.Report, row: report.LogRow) -> None:
        log(self, row)
        if len(self.rows) == 1:
            os.kill(os.getpid(), signal.SIGHUP)

    monkeypatch.setattr(report.Report, "log", hung_up)
    flags = ("--model=mlp", "--penalty", "--batch_size=8", "--z_dim=8", "--log_every=10")
    ended = in_process("train", *flags, "--steps=100000", "--checkpoint_every=90000", "--workdir=run")
    assert ended.returncode == 128 + signal.SIGHUP, ended.stderr
    last = report.read_rows(tmp_path / "run" / "metrics.jsonl", 10**9)[-1]["step"]
    assert f"Stopped at step {last} of 100000; rerun the same command" in ended.stdout
    assert os.listdir(tmp_path / "run" / "checkpoints") == [str(last)]


AS_IT_LOADS = """
import os, signal, sys, time
from gan_jax import cli, sample

def load(*args, **options):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)

sample.load = load
cli.run(sample.main)
"""


def test_ctrl_c_ends_a_command_that_does_not_train(tmp_path: Path, start: Start) -> None:
    workdir.write_config(tmp_path, Config(), Facts((28, 28, 1), 60_000, None, "0" * 64))
    flags = ("--workdir=.", "--out=x.png")
    process = start((sys.executable, "-c", AS_IT_LOADS, *flags))
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "\ninterrupted\n")


def test_nohup_is_respected_and_a_terminal_without_utf_8_told_what_it_can_show(
    tmp_path: Path, start: Start
) -> None:
    plain = {**alone(), "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    process = start(("nohup", *QUICK), env=plain)
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err.replace("nohup: ignoring input\n", "")) == (0, "")
    assert "8?8?1" in first  # ×
    assert (tmp_path / "run" / "samples.png").exists()
    done = subprocess.run((*TRAIN, "--help"), env=plain, capture_output=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"?" in done.stdout


def test_a_reader_that_goes_away_costs_nothing_and_it_is_said(tmp_path: Path, start: Start) -> None:
    process = start(QUICK)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    [line] = process.stderr.read().splitlines()
    assert line == "warning: nobody reads standard output any more; going on without it"
    process.stderr.close()
    assert process.wait(timeout=120) == 0
    assert (tmp_path / "run" / "samples.png").exists()


def test_where_it_can_be_said_to_nobody_it_costs_nothing_either(tmp_path: Path, start: Start) -> None:
    process = start((*TRAIN, "--help"))
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()
    assert process.wait(timeout=120) == 0


def test_a_full_disk_under_the_log_costs_nothing_though_it_can_be_said_to_nobody(
    tmp_path: Path, start: Start
) -> None:
    with open("/dev/full", "w") as full:
        process = start(QUICK, stdout=full)
    assert process.stderr is not None
    process.stderr.close()
    assert process.wait(timeout=120) == 0
    assert (tmp_path / "run" / "samples.png").exists()


def test_a_signal_after_the_last_step_lets_the_files_be_finished(
    small: Callable[..., Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    plot = pictures.plot_losses

    def late(*args: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)  # in which another handler would have ended the process
        plot(*args)

    monkeypatch.setattr(pictures, "plot_losses", late)
    folder = train.train(small(steps=2, workdir=str(tmp_path / "run")))
    assert (folder / "losses.png").exists()
    out, err = capfd.readouterr()
    assert (
        err.splitlines()[-1] == "the run is done, and its files are being finished; once more to stop at once"
    )
    assert "Done" in out


@pytest.mark.parametrize("command", [QUICK, (*TRAIN, "--help")])
def test_a_full_disk_under_the_log_costs_nothing(
    command: tuple[str, ...], tmp_path: Path, start: Start
) -> None:
    with open("/dev/full", "w") as full:
        assert start(command, stdout=full, stderr=full).wait(timeout=120) == 0


def test_closed_streams_cost_nothing(tmp_path: Path, start: Start) -> None:
    closed = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *QUICK)  # by a shell: JAX warns of a fork here
    process = start(closed, stdout=None, stderr=None)
    assert process.wait(timeout=120) == 0
    assert (tmp_path / "run" / "samples.png").exists()
