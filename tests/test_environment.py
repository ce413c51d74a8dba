"""What a run says of itself: what it was made with, how far it is, what was lost; and that it can be repeated."""

import json
import os
import shutil
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import pytest

from gan_jax import environment, program_cache
from gan_jax.config import Config
from gan_jax.errors import Diverged, UserError
from gan_jax.parts import build
from gan_jax.plan import plan
from gan_jax.status import Status
from gan_jax.step_memory import check_step_fits, step_bytes
from gan_jax.stopping import Stopped
from tests.test_faults import RUN, rows_without_speed

InProcess = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from gan_jax import train

    folder = tmp_path_factory.mktemp("environment") / "run"
    assert train.main([*RUN, "--steps=20", "--seed=3", f"--workdir={folder}"]) == 0
    return folder


def status_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "status.json").read_text())
    return found


def test_a_run_is_repeated_to_the_bit_by_its_config(
    done: Path, tmp_path: Path, in_process: InProcess
) -> None:
    again = in_process("train", f"--config={done}/config.json", "--workdir=again", devices=8)
    assert again.returncode == 0, again.stderr
    assert rows_without_speed(tmp_path / "again") == rows_without_speed(done)
    assert (tmp_path / "again" / "samples.png").read_bytes() == (done / "samples.png").read_bytes()


def test_flags_win_over_the_config_and_two_systems_are_refused(done: Path) -> None:
    from gan_jax import config

    file = f"--config={done}/config.json"
    assert config.from_args([file, "--seed=5"]).seed == 5
    assert config.from_args([file]).seed == 3
    assert config.from_args([file]).workdir is None
    assert config.from_args([file, "--epochs=2"]).steps is None
    with pytest.raises(UserError, match="two whole systems"):
        config.from_args([file, "--preset=wgan"])
    with pytest.raises(UserError, match="cannot be read"):
        config.from_args(["--config=nowhere.json"])


def test_a_run_says_what_it_was_made_with(done: Path) -> None:
    [found] = json.loads((done / "environment.json").read_text())
    assert found["from_step"] == 0
    assert found["jax"] == jax.__version__
    assert found["device_count"] == len(jax.devices())
    assert found["xla_flags"] == os.environ["XLA_FLAGS"]
    assert {"python", "gan_jax", "jaxlib", "flax", "optax", "git", "cpu", "device"} <= found.keys()


def test_a_run_that_goes_on_under_others_says_which_and_keeps_both(tmp_path: Path) -> None:
    said: list[str] = []
    environment.record(tmp_path, 0, said.append)
    environment.record(tmp_path, 10, said.append)
    assert not said
    path = tmp_path / "environment.json"
    [found] = json.loads(path.read_text())
    path.write_text(json.dumps([{**found, "jax": "0.0.1"}]))
    environment.record(tmp_path, 20, said.append)
    assert len(said) == 1
    assert f"jax 0.0.1 (here {jax.__version__})" in said[0]
    assert [(x["from_step"], x["jax"]) for x in json.loads(path.read_text())] == [
        (0, "0.0.1"),
        (20, jax.__version__),
    ]
    path.write_text("[")
    environment.record(tmp_path, 30, said.append)
    assert "before step 30 is unknown" in said[1]


def test_others_may_watch_a_run(done: Path, tmp_path: Path) -> None:
    found = status_of(done)
    assert (found["state"], found["step"], found["total"], found["last_checkpoint"]) == ("done", 20, 20, 20)
    assert found["problem"] is None
    status = Status(tmp_path, 100)
    status.begin(10)
    assert status_of(tmp_path)["state"] == "preparing"
    status._written = 0.0
    status.chunk(50, 5.0, 40)
    found = status_of(tmp_path)
    assert (found["state"], found["seconds_left"], found["last_checkpoint"]) == ("training", 10, 40)
    assert found["pid"] == os.getpid()


@pytest.mark.parametrize(
    ("error", "state"),
    [(Diverged("step 3"), "diverged"), (Stopped(3, 9, 2), "stopped"), (UserError("a full disk"), "failed")],
)
def test_a_status_says_how_a_run_ended(error: Exception, state: str, tmp_path: Path) -> None:
    with pytest.raises(type(error)), Status(tmp_path, 9) as status:  # noqa: PT012
        status.begin(0)
        raise error
    assert status_of(tmp_path)["state"] == state
    assert status_of(tmp_path)["problem"] == str(error)


def test_a_status_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "status.json").mkdir()
    with Status(tmp_path, 9) as status:
        status.begin(0)
    assert os.listdir(tmp_path) == ["status.json"]


def test_what_is_lost_is_an_exit_code(done: Path, tmp_path: Path, in_process: InProcess) -> None:
    shutil.copytree(done, tmp_path / "run")
    sorted((tmp_path / "run" / "samples").iterdir())[0].unlink()
    found = in_process("train", *RUN, "--steps=30", "--seed=3", "--workdir=run", devices=8)
    assert found.returncode == 3
    assert "error: the run is done, but of run is lost: 1 grids in samples/" in found.stderr


def test_a_batch_that_the_memory_cannot_hold_is_refused_before_anything(
    in_process: InProcess, tmp_path: Path
) -> None:
    flags = ("--model=conv", "--z_dim=10000", "--batch_size=60000", "--steps=2", "--workdir=w")
    found = in_process("train", *flags)
    assert found.returncode == 2
    assert "--batch_size=60000 and --z_dim=10000 with --model=conv take about" in found.stderr
    assert len(found.stderr.splitlines()) == 1
    assert not (tmp_path / "w").exists()


def test_the_estimate_grows_with_the_batch_and_usual_runs_are_not_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parts = build(Config(model="mlp"), (28, 28, 1), None)
    small, large = step_bytes(parts, 64), step_bytes(parts, 6400)
    assert 64 * 784 * 4 < small < large < 100 * small
    # Packs are as many bytes, and fewer for D to judge.
    packed = build(Config(model="mlp", pack=4), (28, 28, 1), None)
    assert large / 2 < step_bytes(packed, 6400) < large
    monkeypatch.setattr("gan_jax.step_memory.step_bytes", lambda *_: pytest.fail("looked at"))
    check_step_fits(Config(model="mlp"), parts, jax.devices())


def test_a_chunk_has_a_bound_whatever_the_cadence() -> None:
    most = 2**31 - 1
    course = plan(Config(steps=most, log_every=most, checkpoint_every=most), 60_000)
    assert course.length == 10_000
    assert course.stop(0) == 10_000
    assert course.stop(most - 5) == most


def test_two_dashes_are_no_value(in_process: InProcess) -> None:
    found = in_process("train", "--preset=--")
    assert (found.returncode, found.stderr.count("\n")) == (2, 1)
    assert "--preset=-- is not allowed" in found.stderr


def test_words_from_outside_do_not_break_the_line() -> None:
    assert str(UserError("a\nb\x1b[2J\ud800")) == r"a\nb\x1b[2J\ud800"


def test_a_damaged_program_is_removed_from_the_cache_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = getattr(jax.config, "jax_compilation_cache_dir", None)
    for name in ("jit_f-1-cache", "jit_g-1-cache"):
        (tmp_path / name).write_bytes(b"damaged")
    with warnings.catch_warnings():
        try:
            jax.config.update("jax_compilation_cache_dir", str(tmp_path))
            monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
            program_cache.use_compilation_cache()
            text = "Error reading persistent compilation cache entry for 'jit_f': ZlibError: x"
            warnings.warn(text, stacklevel=1)
            assert sorted(os.listdir(tmp_path)) == ["jit_g-1-cache"]
            assert (
                "the compiled program jit_f was damaged, and 1 files of it are removed"
                in capsys.readouterr().err
            )
        finally:
            jax.config.update("jax_compilation_cache_dir", before)
