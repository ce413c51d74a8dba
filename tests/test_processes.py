"""A run in several real processes on this machine: as one computes it; killed, stopped and resumed in others."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from experiments.fault_campaign import several
from experiments.fault_campaign.cases import Ended
from gan_jax import config, train
from gan_jax.checkpoint import Checkpoints
from gan_jax.errors import UserError
from gan_jax.processes import Place, Processes, place_of
from gan_jax.processes.follower import Follower
from gan_jax.processes.job import Job
from gan_jax.processes.leader import Leader
from gan_jax.processes.links import Line
from gan_jax.processes.tunnel import free_port
from tests.conftest import Command

IMAGES = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1), np.uint8)
RUN = ("--dataset=own.npz", "--model=mlp", "--penalty", "--batch_size=16", "--z_dim=8")
RUN = (*RUN, "--log_every=10", "--checkpoint_every=10", "--workdir=run")
STEPS = ("--steps=60",)


def run(
    folder: Path, count: int, *flags: str, scripts: dict[int, str] | None = None, own: Sequence[str] = ()
) -> list[Ended]:
    """The command in so many processes, on four devices altogether, as `several.run` does it."""
    return several.run(folder, [*RUN, *flags], count, 4, scripts=scripts, own=own)


def slurm_run(folder: Path, count: int, *flags: str) -> list[Ended]:
    """`srun python -m gan_jax.train --distributed`, with what Slurm says to each process."""
    given = {"SLURM_JOB_ID": 1, "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_NTASKS": count}
    given |= {"SLURM_STEP_NUM_NODES": 1, "JAX_COORDINATOR_PORT": free_port()}
    what = ["-m", "gan_jax.train", *RUN, *flags, "--distributed"]
    tasks = [{"SLURM_PROCID": i, "SLURM_LOCALID": i} for i in range(count)]
    return several.ends([several.start(folder, what, 4 // count, {**given, **task}) for task in tasks])


def newest(folder: Path) -> tuple[int, dict[str, np.ndarray]]:
    with Checkpoints(folder / "run" / "checkpoints") as checkpoints:
        found = checkpoints.restore(pytest.fail)
    assert found is not None
    return found


def rows(folder: Path) -> list[dict[str, float]]:
    found = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "steps_per_s"} for row in found]


@pytest.fixture
def folder(tmp_path: Path, cache_home: Path) -> Path:
    """With images for the run to be of."""
    np.savez(tmp_path / "own.npz", images=IMAGES)
    return tmp_path


def assert_gone(process: int, count: int, ends: Sequence[Ended]) -> None:
    """The process was killed, and each other has ended with a line that says how to go on."""
    for i, (code, _, err) in enumerate(ends):
        assert code == (-signal.SIGKILL if i == process else 1), ends
        if i != process:
            assert err.startswith(
                f"error: process {process} of {count} has ended, or cannot be reached. Run the"
            )
            assert err.count("\n") == 1


@pytest.mark.long
def test_killed_and_stopped_in_several_processes_and_resumed_in_others_it_is_the_run_of_one(
    folder: Path, in_process: Command
) -> None:
    whole = folder / "whole"
    done = in_process("train", *RUN, *STEPS, "--workdir=whole/run", devices=4)
    assert done.returncode == 0, done.stderr

    four = run(folder, 4, *STEPS, scripts={2: several.BEFORE.format(number=3, act=several.KILL)})
    assert_gone(2, 4, four)
    assert "on 4 × cpu of 4 processes" in four[0][1]
    assert all(out == "" for _, out, _ in four[1:])

    two = run(folder, 2, *STEPS, scripts={0: several.BEFORE.format(number=2, act=several.KILL)})
    assert "resuming at step " in two[0][1]
    assert_gone(0, 2, two)
    assert newest(folder)[0] < 60

    done = in_process("train", *RUN, "--steps=45", devices=4)
    assert done.returncode == 0, done.stderr
    assert "resuming at step " in done.stdout

    two = run(folder, 2, *STEPS, scripts={1: several.BEFORE.format(number=1, act=several.STOP)})
    assert [code for code, _, _ in two] == [128 + signal.SIGTERM] * 2, two
    stopped, _ = newest(folder)
    assert 45 < stopped < 60
    assert f"Stopped at step {stopped} of 60; rerun the same command to go on." in two[0][1]

    last = slurm_run(folder, 2, *STEPS)
    assert [(code, err) for code, _, err in last] == [(0, "")] * 2, last
    assert f"resuming at step {stopped} of 60" in last[0][1]

    # Up to the order in which the devices' shares are added up.
    (step, found), (last_step, expected) = newest(folder), newest(whole)
    assert (step, found.keys()) == (last_step, expected.keys())
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-3, atol=1e-4, err_msg=name)
    cut = [row for row in rows(folder) if row["step"] % 10 == 0 and row["step"] != 50]
    for row in cut:
        [twin] = [row_of_one for row_of_one in rows(whole) if row_of_one["step"] == row["step"]]
        assert row == pytest.approx(twin, rel=1e-3, abs=1e-4)
    assert sorted(os.listdir(folder / "run")) == sorted(os.listdir(whole / "run"))


FIT = """
import sys
import jax
import numpy as np
import gan_jax

jax.config.update("jax_enable_preemption_service", False)
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
config = gan_jax.Config(model="mlp", penalty=(), batch_size=16, z_dim=8, steps=20, log_every=10)
[*_, gan] = gan_jax.fit(config, np.load("own.npz")["images"])
with open(sys.argv[2], "w") as file:
    print(gan.step, gan.metrics["d_loss"], gan.sample(8).sum(), gan.discriminate(gan.sample(8)).sum(), file=file)
"""


def test_fit_in_two_processes_gives_both_the_same_gan(folder: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    ends = several.ends([several.start(folder, ["-c", FIT, address, str(i)], 2, {}) for i in range(2)])
    assert [code for code, _, _ in ends] == [0, 0], ends
    # In files: to their standard output Gloo writes as well, in the middle of a line at times.
    one, other = ((folder / str(i)).read_text() for i in range(2))
    assert one == other
    assert one.split()[0] == "20"


@pytest.mark.parametrize(
    ("flags", "own", "code", "words"),
    [
        ((), ("--dataset=other.npz",), 2, "process 1 differs from process 0 in images ("),
        (("--batch_size=18",), (), 2, "--batch_size=18 does not divide over 4 devices"),
        pytest.param(
            ("--d_learning_rate=1e30",),
            (),
            1,
            "step 1: g_loss is nan; there is no checkpoint yet. Try a lower",
            marks=pytest.mark.long,
        ),
    ],
)
def test_what_ends_one_process_ends_all(
    flags: Sequence[str], own: Sequence[str], code: int, words: str, folder: Path
) -> None:
    np.savez(folder / "other.npz", images=IMAGES[::-1])
    first, second = run(folder, 2, "--steps=60", "--checkpoint_every=1", *flags, own=own)
    for end, _, err in (first, second):
        assert end == code, (first, second)
        assert err.count("\n") == 1, err
        assert words in err
    assert (folder / "run" / "config.json").exists() == (code == 1)


# ---- which process this is ----


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--process_id=0",), "--process_id needs --coordinator and --num_processes as well"),
        (("--coordinator=localhost:80", "--num_processes=2"), "--coordinator needs --process_id as well"),
        (("--coordinator=a:1", "--num_processes=2", "--process_id=2"), "it must be from 0 to 1"),
        (("--coordinator=a:1", "--distributed"), "--distributed finds out --coordinator itself"),
        (("--coordinator=a",), "it must be HOST:PORT"),
        (("--coordinator=a:70000",), "it must be HOST:PORT"),
        (("--rank=1",), "Did you mean --process_id"),
    ],
)
def test_flags_that_do_not_say_which_process_this_is(flags: Sequence[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        config.command_from_args(train.Command, flags)


def test_one_process_is_none_of_several() -> None:
    assert place_of(Processes(coordinator="a:1", num_processes=1, process_id=0, distributed=False)) is None


def test_slurm_says_which_process_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    given = Processes(coordinator=None, num_processes=None, process_id=None, distributed=True)
    with pytest.raises(UserError, match="finds no TPU pod, Slurm"):
        place_of(given)
    monkeypatch.setenv("SLURM_JOB_ID", "5000")
    monkeypatch.setenv("SLURM_STEP_NODELIST", "node[007-010]")
    for name, value in {"NTASKS": 8, "PROCID": 5, "LOCALID": 1, "STEP_NUM_NODES": 4}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    found = place_of(given)
    assert found is not None
    assert (found.address[0], found.num, found.process) == ("node007", 8, 5)


# ---- how they find one another ----

VALUES = {"--batch_size": 16, "--penalty": ("gp",)}


@pytest.fixture(autouse=True)
def left() -> list[str]:
    """With what words a process would have ended because of another. For good: the threads here outlive their test."""
    found: list[str] = []
    Job._leave = lambda self, text, told, code: found.append(text)  # type: ignore[method-assign]
    return found


def meet(address: tuple[str, int], *others: tuple[int, int, dict[str, object]]) -> list[str]:
    """What process 0 of three is told, or none, and each of the others: (process, of how many, values)."""
    said: list[str] = []

    def come(process: int, count: int, values: dict[str, object]) -> None:
        try:
            (Follower if process else Leader)(Place(address, count, process, None), values)
            said.append("")
        except UserError as error:
            said.append(str(error))

    threads = [threading.Thread(target=come, args=who, daemon=True) for who in ((0, 3, VALUES), *others)]
    for thread in threads:
        thread.start()
    threads[0].join(60)
    threads[-1].join(60)
    return said


def answer_to(line: bytes, address: tuple[str, int]) -> bytes:
    """What is said at the address, once there is somebody; nothing where the connection is closed."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with socket.create_connection(address, timeout=60) as caller:
                caller.sendall(line)
                return caller.recv(100)
        except ConnectionResetError:
            return b""
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "nobody is at the address"


def test_processes_meet_whoever_else_calls(left: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    address = ("127.0.0.1", free_port())
    welcome = threading.Thread(target=meet, args=(address,), daemon=True)
    monkeypatch.setattr("gan_jax.processes.leader.WAIT", 60)
    welcome.start()
    words = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"[" * 5000 + b"\n",
        b'{"process": []}\n',
        b'{"process": "1", "of": 3}\n',
    ]
    for line in words:
        assert answer_to(line, address) == b""
    for i in (1, 2):
        threading.Thread(target=Follower, args=(Place(address, 3, i, None), VALUES), daemon=True).start()
    welcome.join(60)
    assert not welcome.is_alive()
    assert left == []


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            (1, 3, {**VALUES, "--batch_size": 8}),
            "process 1 differs from process 0 in --batch_size (8 there, 16 here)",
        ),
        ((1, 2, VALUES), "process 1 has --num_processes=2, and process 0 3"),
    ],
)
def test_who_was_told_something_else_ends_all(
    other: tuple[int, int, dict[str, object]], words: str, left: list[str]
) -> None:
    said = meet(("127.0.0.1", free_port()), other)
    assert len(said) == 2
    assert all(words in line for line in said)


def test_two_of_one_number_are_told_so(left: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gan_jax.processes.leader.WAIT", 1.5)
    said = meet(("127.0.0.1", free_port()), (1, 3, VALUES), (1, 3, VALUES))
    assert any("there is a --process_id=1 already" in line for line in said)
    assert any("process 2 of 3 did not come within 1.5 s" in line for line in said)


def test_where_nobody_is_the_wait_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gan_jax.processes.follower.WAIT", 0.5)
    with pytest.raises(UserError, match=r"nobody has answered at --coordinator=127.0.0.1:\d+ for 0.5 s"):
        Follower(Place(("127.0.0.1", free_port()), 2, 1, None), VALUES)


def test_a_port_of_somebody_else() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(UserError, match=r"is no process 0 of gan_jax\.train"):
            Follower(Place(server.getsockname(), 2, 1, None), VALUES)
        with pytest.raises(UserError, match=r"cannot be served \(Address already in use\)"):
            Leader(Place(server.getsockname(), 2, 0, None), VALUES)


def test_who_falls_silent_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gan_jax.processes.links.SILENCE", 0.5)
    lost = threading.Event()
    here, there = socket.socketpair()
    with there:
        Line(here, lambda words: None, lost.set)
        assert lost.wait(30)
