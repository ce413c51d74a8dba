"""`--time`: the number of steps that a time makes, by a clock that the test holds; recorded, and gone on with."""

import dataclasses
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import gan_jax
from gan_jax import devices, duration, timed, train
from gan_jax.config import Config, command_from_args
from gan_jax.duration import Task, spelled, steps_within
from gan_jax.errors import UserError
from gan_jax.options import converted
from gan_jax.parts import facts_of
from gan_jax.plan import plan
from gan_jax.state import to_arrays

Command = Callable[..., subprocess.CompletedProcess[str]]
Small = Callable[..., Config]

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
COMPILING = 5.0  # seconds of the first chunk


@pytest.mark.parametrize(
    ("given", "text", "words"),
    [
        ("90s", "90s", "90 seconds"),
        ("10m", "10m", "10 minutes"),
        (" 1h", "1h", "1 hour"),
        ("1.5h", "90m", "90 minutes"),
        ("60s", "1m", "1 minute"),
        ("4.1m", "246s", "246 seconds"),
        ("0.5s", "0.5s", "0.5 seconds"),
        (600, "10m", "10 minutes"),
        (1209599.5, "1209599.5s", "1209599.5 seconds"),
        ("0.00001s", "0.00001s", "0.00001 seconds"),
    ],
)
def test_a_time_is_a_number_with_a_unit(given: Any, text: str, words: str) -> None:
    assert converted("time", given, duration.TIME) == text
    assert converted("time", text, duration.TIME) == text
    assert spelled(text) == words


@pytest.mark.parametrize("given", ["10", "10 min", "0s", "-1m", "infs", "1e9999", "", "1h30m", 0, True])
def test_other_times_are_refused(given: Any) -> None:
    with pytest.raises(
        UserError, match=r"it must be a positive number with a unit, such as 90s, 10m or 1\.5h"
    ):
        converted("time", given, duration.TIME)


class Clock:
    """A clock on which a step takes `step` seconds, each `every`th `penalty` more, compiling 5, and nothing else any.

    Where steps are not `real`, nothing is computed.
    """

    def __init__(
        self,
        step: float,
        monkeypatch: pytest.MonkeyPatch,
        real: bool = True,
        penalty: float = 0.0,
        every: int = 4,
    ) -> None:
        self.now, self.step, self.steps, self.first = 1000.0, step, 0, COMPILING
        original = devices.chunk

        def chunk(*given: Any) -> Any:
            run = original(*given)

            def slowly(state: Any, data: Any, begin: int, stop: int) -> Any:
                penalties = sum(step % every == 0 for step in range(begin, stop))
                self.now += self.step * (stop - begin) + penalty * penalties + self.first
                self.steps, self.first = self.steps + stop - begin, 0.0
                return run(state, data, begin, stop) if real else (state.replace(step=stop), {})

            return slowly

        monkeypatch.setattr(devices, "chunk", chunk)
        monkeypatch.setattr(duration, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def spend(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("accelerator", [False, True])
@pytest.mark.parametrize("step", [0.01, 0.7])
def test_all_is_done_in_the_time(
    small: Small, monkeypatch: pytest.MonkeyPatch, step: float, accelerator: bool
) -> None:
    clock = Clock(step, monkeypatch, real=False)
    monkeypatch.setattr(devices, "needs_known_length", lambda device: accelerator)
    config = small(log_every=5, batch_size=8)
    # Drawing goes on beside an accelerator's steps, and a checkpoint is written between them and at the end.
    tasks = [
        Task(10, lambda gan: clock.spend(0.2), beside=True),
        Task(100, lambda gan: clock.spend(0.3), last=True),
    ]
    steps = steps_within(config, "2m", IMAGES, tasks=tasks)
    cost = (max(step, 0.02) if accelerator else step + 0.02) + 0.003
    gone = clock.now - 1000
    assert COMPILING + step * clock.steps <= gone < 15
    assert steps % 5 == 0 or (steps < 250 and not accelerator)
    assert 0.97 * (120 - 0.3) - 5 * cost < gone * 0.97 + steps * cost <= 120 - 0.3


@pytest.mark.parametrize("log_every", [1, 2, 3, 10])
def test_steps_with_lazy_penalties_are_timed_as_often_as_the_run_has_them(
    small: Small, monkeypatch: pytest.MonkeyPatch, log_every: int
) -> None:
    clock = Clock(0.01, monkeypatch, real=False, penalty=1.0)
    clock.first = 0.0
    config = small(log_every=log_every, batch_size=8, penalty=("r1",), penalty_every=4)
    steps = steps_within(config, "20m", IMAGES)
    left = 1200 - (clock.now - 1000)
    assert 0.97 * left - 10 * 0.26 < steps * 0.26 <= 0.97 * left


@pytest.mark.parametrize("accelerator", [False, True])
def test_a_run_without_a_whole_chunk_compiles_again(
    small: Small, monkeypatch: pytest.MonkeyPatch, accelerator: bool
) -> None:
    clock = Clock(0.1, monkeypatch, real=False)
    monkeypatch.setattr(devices, "needs_known_length", lambda device: accelerator)
    seconds = 150 if accelerator else 30  # of which an accelerator measures whole chunks for 100
    steps = steps_within(small(log_every=500, batch_size=8), seconds, IMAGES)
    left = seconds - COMPILING - (clock.now - 1000)
    assert 10 * 0.97 * left - 2 < steps <= 10 * left
    assert steps < 500


def test_on_a_cpu_too_it_is_another_program(small: Small) -> None:
    config = small(log_every=7, batch_size=8, z_dim=11)  # of no other test
    gan, run = duration._trial(config, IMAGES, None)
    run(gan.state, 3)
    before = devices.chunk_program.cache_info().misses
    run(gan.state, 7)
    assert devices.chunk_program.cache_info().misses == before
    list(gan_jax.fit(dataclasses.replace(config, steps=5), IMAGES))
    assert devices.chunk_program.cache_info().misses == before + 1


@pytest.mark.parametrize("log_every", [1, 3, 400])
@pytest.mark.parametrize(("step", "every"), [(0.02, 7), (0.02, 64), (0.02, 9999), (0.4, 16), (0.4, 32)])
def test_rare_penalties_make_measuring_no_longer_and_no_worse(
    small: Small, monkeypatch: pytest.MonkeyPatch, step: float, every: int, log_every: int
) -> None:
    clock = Clock(step, monkeypatch, real=False, penalty=2 * step, every=every)
    clock.first = 0.0
    config = small(log_every=log_every, batch_size=8, penalty=("r1",), penalty_every=every)
    steps = steps_within(config, "10m", IMAGES)
    gone = clock.now - 1000
    assert gone <= 5 * 10
    assert steps * step * (1 + 2 / every) == pytest.approx(0.97 * (600 - gone), rel=0.02)


def test_a_run_evaluates_once_a_chunk_at_most(small: Small, tmp_path: Path) -> None:
    config = small(log_every=20, batch_size=8, eval_every=1)  # five batches an epoch, and four epochs a chunk
    facts = facts_of(IMAGES, None, conditional=False)
    judge: Any = SimpleNamespace()  # is not asked
    [*_, evaluation] = timed._tasks(config, facts, judge, tmp_path)
    course = plan(dataclasses.replace(config, steps=400), len(IMAGES))
    evaluated = sum(course.evaluates(begin, begin + 20) for begin in range(0, 400, 20))
    assert 400 / evaluation.every == evaluated == 20


@pytest.mark.parametrize(
    ("cadences", "drawn", "saved"),
    [
        ({"log_every": 100, "checkpoint_every": 1000}, 100, 1000),
        ({"log_every": 5000, "checkpoint_every": 4000, "keep_every": 100}, 100, 100),
        ({"log_every": 400, "checkpoint_every": 300}, 200, 300),  # at 300, 400, 600, 800, 900, 1200
        (
            {"log_every": 20, "checkpoint_every": 10_000, "eval_every": 8},
            20,
            40,
        ),  # each epoch has five batches
        ({"log_every": 1, "checkpoint_every": 4000, "eval_every": 10_000}, 1, 1 / (1 / 4000 + 1 / 50_000)),
    ],
)
def test_each_chunk_is_drawn_and_each_checkpoint_counted(
    small: Small, tmp_path: Path, cadences: dict[str, int], drawn: float, saved: float
) -> None:
    config = small(batch_size=8, **cadences)
    judge: Any = SimpleNamespace() if config.eval_every else None
    drawing, saving, *_ = timed._tasks(config, facts_of(IMAGES, None, conditional=False), judge, tmp_path)
    assert (drawing.every, saving.every) == (pytest.approx(drawn, rel=0.01), pytest.approx(saved, rel=0.01))


def test_what_was_measured_is_what_fit_then_runs(
    small: Small, monkeypatch: pytest.MonkeyPatch, compiled: list[str]
) -> None:
    Clock(0.1, monkeypatch)
    config = small(log_every=5, batch_size=8, z_dim=9, schedule="cosine")  # of no other test
    steps = steps_within(config, 60, IMAGES)
    assert compiled
    compiled.clear()
    gan = next(iter(gan_jax.fit(dataclasses.replace(config, steps=steps), IMAGES)))
    assert not compiled
    assert float(gan.state.hyperparams["total_steps"]) == steps > 100


def test_too_short_a_time_is_refused_and_the_time_before_counts(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(0.01, monkeypatch, real=False)
    config = small(log_every=5, batch_size=8)
    with pytest.raises(
        UserError, match=r"^--time=1s is too short: 2\.0 s are over before the program is compiled"
    ):
        steps_within(config, "1s", IMAGES, began=clock.now - 2)
    with pytest.raises(
        UserError, match=r"^--time=6s is too short: 6 s are over once the program is compiled"
    ):
        steps_within(config, "6s", IMAGES)
    fewer = steps_within(config, "1m", IMAGES, began=clock.now - 40)
    clock.first = COMPILING
    assert fewer < steps_within(config, "1m", IMAGES) / 2


# ---- the command ----


FLAGS = (
    "--dataset=own.npz", "--model=mlp", "--penalty", "--batch_size=8", "--z_dim=4", "--ema=0",
    "--log_every=3", "--schedule=linear",
)  # fmt: skip


def test_a_run_has_its_steps_recorded_and_goes_on_with_them(
    in_process: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez("own.npz", images=IMAGES, test_images=IMAGES)
    clock = Clock(0.1, monkeypatch)
    monkeypatch.setattr(timed, "_tasks", lambda *given: [])
    monkeypatch.setattr(train, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    first = in_process("train", *FLAGS, "--time=8s")
    assert first.returncode == 0, first.stderr
    [folder] = Path("runs").iterdir()
    assert folder.name.endswith("-schedule=linear-batch_size=8-time=8s")
    config = json.loads((folder / "config.json").read_bytes())
    assert (config["time"], config["steps"] % 3) == ("8s", 0)
    assert f"{config['steps']} steps in about 8 seconds, by" in first.stdout
    assert f"training for {config['steps']} steps" in first.stdout

    clock.step = 1.0  # the machine is slow by now, and it makes no difference
    again = in_process("train", *FLAGS, "--time=8s")
    assert f"{config['steps']} steps, as this folder has recorded for --time=8s" in again.stdout
    assert json.loads((folder / "config.json").read_bytes()) == config
    by_config = in_process("train", f"--config={folder}/config.json", f"--workdir={folder}")
    assert by_config.returncode == 0, by_config.stderr
    assert json.loads((folder / "config.json").read_bytes())["time"] == "8s"
    repeated = in_process("train", f"--config={folder}/config.json", "--workdir=repeated")
    assert repeated.returncode == 0, repeated.stderr
    arrays = to_arrays(gan_jax.load("repeated").state)
    for name, array in to_arrays(gan_jax.load(folder).state).items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)

    clock.step, before, measured = 0.1, (folder / "config.json").read_bytes(), clock.steps
    longer = in_process("train", *FLAGS, "--time=20s", f"--workdir={folder}")
    assert longer.returncode == 2
    assert (
        f"holds a run of {config['steps']} steps (--time=8s), over which --schedule=linear lowers"
        in longer.stderr
    )
    assert "give another --workdir, or --time=8s to resume it" in longer.stderr
    assert clock.steps == measured
    assert (folder / "config.json").read_bytes() == before
    Path("file").write_text("")
    for place, words in (
        ("runs", "runs holds other runs"),
        ("file", "--workdir=file cannot be used: file is no folder that can be written to"),
        ("file/below", "--workdir=file/below cannot be used: file is no folder"),
    ):
        refused = in_process("train", *FLAGS, "--time=8s", f"--workdir={place}")
        assert (refused.returncode, clock.steps) == (2, measured)
        assert words in refused.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--time=1m", "--steps=5"), "--time and --steps are two lengths of the run: give one of them"),
        (("--epochs=5", "--time=1m"), "--time and --epochs are two lengths of the run: give one of them"),
        (("--time=1m", "--coordinator=a:1", "--num_processes=2", "--process_id=0"), "of a single process"),
        (("--time=ten",), "--time=ten is not allowed: it must be a positive number with a unit"),
    ],
)
def test_what_does_not_go_with_a_time_is_refused(flags: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        command_from_args(train.Command, flags)
